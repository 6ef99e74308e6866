"""The networks: one paper, one file, channels last, in keras.ops."""

from kerapose.models.action_recognizer import ActionRecognizer
from kerapose.models.c3d import C3D
from kerapose.models.slowonly import SlowOnly
from kerapose.models.x3d import X3D

__all__ = ["C3D", "ActionRecognizer", "SlowOnly", "X3D"]
