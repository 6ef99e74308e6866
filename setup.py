"""Installs the package kerapose, and only that: datasets/, train/ and benchmarks/ are run from a checkout."""

import pathlib

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent

DETECTOR = ["keras-hub>=0.32,<0.33"]  # finds the people that nobody has boxes of
EXTRACT = ["ray[data]>=2.60,<2.61"]  # several videos at once, on one machine or many
EXPORT = [
    "ai-edge-litert>=2,<3",  # runs .tflite files; TensorFlow itself writes them
    "onnx>=1.18,<2",
    "onnxruntime>=1.22,<2",
    "tf2onnx>=1.17,<2",  # what Keras writes ONNX with on the TensorFlow backend
]
JAX = ["jax>=0.7,<1"]
NOTEBOOK = [
    "ipykernel>=7,<8",
    "nbformat>=5.10,<6",  # plotly shows nothing in a notebook without it
    "plotly>=6.1,<8",  # poses that one turns with the mouse
]
OPENVINO = ["openvino>=2025,<2027"]  # reads Open Model Zoo's networks
TORCH = ["safetensors>=0.5,<1", "torch>=2.6,<3"]  # read published checkpoints; nothing runs in PyTorch
DOCS = [
    "furo>=2025.12.19",  # the pages' looks
    "myst-nb>=1.4,<2",  # Markdown and notebooks in Sphinx
    "sphinx>=9,<10",
    "sphinx-copybutton>=0.5.2,<1",
]
TEST = [
    "dill>=0.4,<1",  # tfds.testing imports it without declaring it
    "jupytext>=1.19,<2",  # notebooks as text
    "nbmake>=1.5.5,<2",  # runs notebooks as tests
    "pytest>=9,<10",
    "pytest-xdist>=3.6,<4",  # the files of tests side by side
    "ruff>=0.17,<0.18",  # another minor version may format otherwise
    "supervision>=0.29,<0.32",  # takes people over (`data.interchange`)
    "tensorflow-serving-api>=2.21,<2.22",
    "torch==2.13.0",
]


def read_version():
    """The version written in the package, read without importing it."""
    lines = (ROOT / "kerapose" / "__init__.py").read_text(encoding="utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("__version__"))


setup(
    name="kerapose",
    version=read_version(),
    description="Human pose and skeleton-based action recognition in Keras 3.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The authors of kerapose",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        "human pose estimation",
        "keypoint detection",
        "3D pose",
        "skeleton-based action recognition",
        "video",
        "Keras",
        "TensorFlow",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    entry_points={"console_scripts": ["kerapose = kerapose.commands:main"]},
    packages=find_packages(include=["kerapose", "kerapose.*"]),
    package_data={"kerapose": ["py.typed"], "kerapose.presets": ["table.csv", "classes/*.txt"]},
    install_requires=[
        "absl-py>=2.1,<3",
        "av>=14,<19",  # writes MP4; OpenCV's own writer knows no codec that browsers play
        "importlib_resources>=6,<8",  # tensorflow-datasets imports it without declaring it
        "keras>=3.15,<4",
        "matplotlib>=3.9,<4",
        "numpy>=2,<3",
        "opencv-python-headless>=4.10,<6",
        "pillow>=10,<14",  # writes GIF
        "pycocotools>=2.0.10,<3",
        "scipy>=1.14,<2",  # assigns people to their tracks
        "tensorboard>=2.20,<3",  # TensorFlow no longer brings it
        "tensorflow>=2.20,<3",  # CONTRIBUTING.md says which were tried
        "tensorflow-datasets>=4.9.10,<4.10",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "detector": DETECTOR,
        "docs": DOCS + NOTEBOOK,
        "export": EXPORT,
        "extract": EXTRACT,
        "jax": JAX,
        "notebook": NOTEBOOK,
        "openvino": OPENVINO,
        "test": TEST + DETECTOR + DOCS + EXPORT + EXTRACT + JAX + NOTEBOOK + OPENVINO + TORCH,
        "torch": TORCH,
    },
)
