"""Training scripts, one per model family; run as `python -m train.<family>` from a checkout."""
