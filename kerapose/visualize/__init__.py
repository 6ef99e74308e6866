"""Pictures: skeletons, heatmaps, fields on images, clips, heatmap volumes, 3D poses, confusion matrices, curves.

Pictures are RGB uint8 arrays [H, W, 3], figures are matplotlib Figures; `figure_to_image` turns one into the other.
Nothing here touches matplotlib's global state, so the functions work in any thread and without a display. Only
`interactive_poses` gives a figure of plotly, which one turns with the mouse.

Five constants say how pictures look: `BACKGROUND`, the RGB colour of panels without an image; `GAP_PX`, pixels between
two panels; `TRUTH_COLOR`, the grey of true poses; `AZIMUTH_DEG` and `ELEVATION_DEG`, from where 3D poses are seen.

Example:
    >>> from kerapose import skeletons, visualize
    >>> strip = visualize.clip_strip(keypoints, scores, skeletons.COCO, frame_size=(240, 320), num_frames=6)
    >>> strip.shape
    (240, 2138, 3)
"""

from kerapose.visualize.animations import write_animation, write_mp4
from kerapose.visualize.fields import draw_fields
from kerapose.visualize.figures import confusion_matrix_figure, curves_figure, figure_to_image
from kerapose.visualize.identities import draw_identities, identity_colors, write_caption
from kerapose.visualize.images import compare_poses, contact_sheet, draw_heatmaps, draw_skeletons
from kerapose.visualize.interactive import interactive_poses
from kerapose.visualize.panels import BACKGROUND, GAP_PX
from kerapose.visualize.poses_3d import (
    AZIMUTH_DEG,
    ELEVATION_DEG,
    TRUTH_COLOR,
    draw_lift,
    draw_pose_3d,
    lift_strip,
    people_panels,
)
from kerapose.visualize.videos import annotate_video, draw_attention, video_strip
from kerapose.visualize.volumes import clip_strip, draw_volume, volume_strip

__all__ = [
    "annotate_video",
    "AZIMUTH_DEG",
    "BACKGROUND",
    "clip_strip",
    "compare_poses",
    "confusion_matrix_figure",
    "contact_sheet",
    "curves_figure",
    "draw_attention",
    "draw_fields",
    "draw_heatmaps",
    "draw_identities",
    "draw_lift",
    "draw_pose_3d",
    "draw_skeletons",
    "draw_volume",
    "ELEVATION_DEG",
    "figure_to_image",
    "GAP_PX",
    "identity_colors",
    "interactive_poses",
    "lift_strip",
    "people_panels",
    "TRUTH_COLOR",
    "video_strip",
    "volume_strip",
    "write_animation",
    "write_caption",
    "write_mp4",
]
