"""Similarities, suppression and average precision against loops, and against the published evaluation."""

import json

import numpy as np
import pytest

from kerapose import metrics
from kerapose.skeletons import COCO


# ----------------------------------------------------------------------------------------- object keypoint similarity
def slow_oks(a, b, area, sigmas, counted=None):
    parts = [
        np.exp(-((a[k] - b[k]) ** 2).sum() / (2 * area * (2 * sigma) ** 2))
        for k, sigma in enumerate(sigmas)
        if counted is None or counted[k]
    ]
    return sum(parts) / len(parts) if parts else 0.0


def crowd(count=10, num_joints=6, seed=0):
    """People, some nearly the same: keypoints, scores, areas, sigmas, keypoint scores."""
    random = np.random.default_rng(seed)
    places = random.uniform(0, 200, (count // 3, num_joints, 2))
    keypoints = places[random.integers(0, len(places), count)] + random.normal(0, 5, (count, num_joints, 2))
    sigmas = random.uniform(0.03, 0.1, num_joints)
    return keypoints, random.random(count), random.uniform(3e3, 9e3, count), sigmas, random.random((count, num_joints))


def test_similarities_and_suppression_equal_the_published_ones(golden):
    case = golden("metric_oks_nms_a")
    keypoints, joint_scores = case["input_keypoints"][..., :2], case["input_keypoints"][..., 2]
    scores, areas, sigmas = case["input_scores"], case["input_areas"], case.config["sigmas"]
    quirk = {"keypoint_scores": joint_scores, "score_threshold": 0.3, "published": True}
    case.check("output_oks", metrics.oks_between(keypoints, areas, sigmas))
    case.check("output_oks_in_vis_0.3", metrics.oks_between(keypoints, areas, sigmas, **quirk))
    for threshold in case.config["thresholds"]:
        arguments = keypoints, scores, areas, sigmas, threshold
        case.check(f"output_oks_nms_{threshold}", metrics.oks_nms(*arguments))
        case.check(f"output_oks_nms_{threshold}_in_vis_0.3", metrics.oks_nms(*arguments, **quirk))
        case.check(f"output_soft_oks_nms_{threshold}", metrics.soft_oks_nms(*arguments)[0])
    boxes = case["input_boxes"]
    case.check("output_box_nms_0.5", metrics.box_nms(boxes[:, :4], boxes[:, 4], 0.5, published=True))


def test_similarities_equal_the_loop():
    keypoints, _, areas, sigmas, joint_scores = crowd()
    plain = metrics.oks_between(keypoints, areas, sigmas)
    both = metrics.oks_between(keypoints, areas, sigmas, joint_scores, 0.6)
    second = metrics.oks_between(keypoints, areas, sigmas, joint_scores, 0.6, published=True)
    sure = joint_scores > 0.6
    for i, j in np.ndindex(10, 10):
        arguments = keypoints[i], keypoints[j], (areas[i] + areas[j]) / 2, sigmas
        assert plain[i, j] == pytest.approx(slow_oks(*arguments))
        assert both[i, j] == pytest.approx(slow_oks(*arguments, sure[i] & sure[j]))
        assert second[i, j] == pytest.approx(slow_oks(*arguments, sure[j]))
    np.testing.assert_allclose(both, both.T)
    assert not np.allclose(second, second.T)


def test_similarity_to_true_people_equals_the_loop():
    keypoints, _, areas, sigmas, _ = crowd()
    truth, visible = crowd(seed=1)[0][:4], np.array([[1, 2, 0, 0, 1, 1], [0] * 6, [2] * 6, [0, 0, 0, 0, 0, 1]])
    boxes = np.array([[0, 0, 1, 1], [60, 80, 90, 120], [0, 0, 1, 1], [0, 0, 1, 1]])
    similarity = metrics.oks(keypoints, np.where(visible[..., None], truth, np.nan), visible, areas[:4], sigmas, boxes)
    for d, g in np.ndindex(10, 4):
        if g == 1:  # nothing labelled: how far from the box, widened by its size on each side, 30..120 x 40..160
            nearest = np.clip(keypoints[d], (30, 40), (120, 160))
            expected = slow_oks(keypoints[d], nearest, areas[g], sigmas)
        else:
            expected = slow_oks(keypoints[d], truth[g], areas[g], sigmas, visible[g] > 0)
        assert similarity[d, g] == pytest.approx(expected)
    with pytest.raises(ValueError, match="measured by its box, got none for 1"):
        metrics.oks(keypoints, truth, visible, areas[:4], sigmas)


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5])
def test_suppression_equals_the_loops(threshold):
    keypoints, scores, areas, sigmas, _ = crowd(count=24, seed=4)
    similarity = metrics.oks_between(keypoints, areas, sigmas)
    best_first, kept = sorted(range(24), key=lambda i: -scores[i]), []
    for i in best_first:
        if all(similarity[i, j] <= threshold for j in kept):
            kept.append(i)
    assert metrics.oks_nms(keypoints, scores, areas, sigmas, threshold) == kept
    assert len(kept) < 24
    soft, reduced, left = [], [], dict(enumerate(scores))
    while len(soft) < 20:
        best = max(left, key=left.get)
        soft.append(best)
        reduced.append(left.pop(best))
        left = {i: score * np.exp(-(similarity[best, i] ** 2) / threshold) for i, score in left.items()}
    indices, values = metrics.soft_oks_nms(keypoints, scores, areas, sigmas, threshold)
    assert indices == soft and values == pytest.approx(reduced)
    assert soft != best_first[:20]


def test_suppression_of_equals_and_of_nobody():
    sigmas = [0.1, 0.1]
    same = np.ones((3, 2, 2))
    assert metrics.oks_nms(same, [0.5, 0.5, 0.5], [9, 9, 9], sigmas) == [0]
    assert metrics.soft_oks_nms(same, [0.5, 0.5, 0.5], [9, 9, 9], sigmas)[0] == [0, 1, 2]
    assert metrics.oks_nms(np.zeros((0, 2, 2)), [], [], sigmas) == []
    assert metrics.soft_oks_nms(np.zeros((0, 2, 2)), [], [], sigmas) == ([], [])
    assert metrics.box_nms([], []) == []


def slow_overlap(a, b, edge):
    width = min(a[2], b[2]) - max(a[0], b[0]) + edge
    height = min(a[3], b[3]) - max(a[1], b[1]) + edge
    common = max(width, 0) * max(height, 0)
    return common / (sum((c[2] - c[0] + edge) * (c[3] - c[1] + edge) for c in (a, b)) - common)


@pytest.mark.parametrize("published", [True, False])
def test_box_nms_equals_the_loop(published):
    random = np.random.default_rng(0)
    corner = random.integers(0, 12, (40, 2))
    boxes = np.concatenate([corner, corner + random.integers(4, 12, (40, 2))], axis=1)
    scores, kept = random.random(40), []
    for i in sorted(range(40), key=lambda i: -scores[i]):
        if all(slow_overlap(boxes[i], boxes[j], int(published)) <= 0.4 for j in kept):
            kept.append(i)
    assert metrics.box_nms(boxes, scores, 0.4, published) == kept
    assert metrics.box_nms(boxes, scores, 0.4, not published) != kept


def test_just_as_alike_as_the_threshold_stays():
    """For boxes, poses and scores of keypoints alike."""
    boxes = [[0, 0, 30, 10], [15, 0, 45, 10]]  # of their union of 45 x 10 a third is common
    assert metrics.box_nms(boxes, [0.5, 0.6], 1 / 3) == [1, 0] and metrics.box_nms(boxes, [0.5, 0.6], 0.33) == [1]
    flat = [[0, 0, 10, 30], [0, 20, 10, 50]]  # of 50 x 10 a fifth
    assert metrics.box_nms(flat, [0.6, 0.5], 0.2) == [0, 1] and metrics.box_nms(flat, [0.6, 0.5], 0.19) == [0]
    points = np.array([[[0.0, 0], [5, 9]], [[3, 0], [5, 9]]])
    given = points, [0.5, 0.6], [100.0, 300.0], [0.1, 0.1]
    alike = metrics.oks_between(points, given[2], given[3])[1, 0]
    assert alike == pytest.approx((1 + np.exp(-9 / (2 * 200 * 0.2**2))) / 2)
    assert metrics.oks_nms(*given, alike) == [1, 0] and metrics.oks_nms(*given, alike - 1e-9) == [1]
    scores = np.array([[0.5, 0.7], [0.9, 0.7]])
    sure = metrics.oks_between(points, given[2], given[3], scores, 0.5)[1, 0]
    assert sure == 1  # the keypoint of 0.5 does not count
    assert metrics.oks_nms(*given, 0.99, keypoint_scores=scores, score_threshold=0.5) == [1]


def test_soft_suppression_keeps_as_many_as_it_is_told_to():
    points, scores, areas = np.arange(5)[:, None, None] * np.full((5, 2, 2), 99.0), np.linspace(0.1, 0.5, 5), [9.0] * 5
    kept, reduced = metrics.soft_oks_nms(points, scores, areas, [0.1, 0.1], max_people=2)
    assert kept == [4, 3] and reduced == pytest.approx([0.5, 0.4])
    assert len(metrics.soft_oks_nms(np.zeros((25, 1, 2)), np.ones(25), np.ones(25), [0.1])[0]) == 20
    both = [points * 0, scores, areas, [0.1, 0.1]]
    assert metrics.soft_oks_nms(*both, 0.5)[1][1] == pytest.approx(0.4 * np.exp(-1 / 0.5))


def test_sigmas_are_at_most_one():
    assert metrics.sound_sigmas([1.0, 1e-9], 2).tolist() == [1.0, 1e-9]


def test_rescore_by_hand():
    joints = [[0.8, 0.6, 0.1], [0.2, 0.1, 0.0], [0.3, 0.9, 0.6]]
    np.testing.assert_allclose(metrics.rescore([0.5, 1.0, 1.0], joints), [0.35, 0.0, 0.6])  # 0.2 is not above 0.2
    np.testing.assert_allclose(metrics.rescore([1.0], [[0.8, 0.6, 0.1]], threshold=0.0), [0.5])


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda k, s, a, g: metrics.oks_nms(k, s, a, g[:-1]), "for 5 sigmas"),
        (lambda k, s, a, g: metrics.oks_nms(k, s[:-1], a, g), "scores must be one per person, got 9 for 10"),
        (lambda k, s, a, g: metrics.oks_nms(k, s, a[:-1], g), "areas must be one per person, got 9 for 10"),
        (lambda k, s, a, g: metrics.oks_nms(k * np.nan, s, a, g), "predicted keypoints must be numbers"),
        (lambda k, s, a, g: metrics.soft_oks_nms(k, s * np.nan, a, g), "scores must be numbers"),
        (lambda k, s, a, g: metrics.oks_between(k, a, g, score_threshold=0.2), "needs keypoint_scores"),
        (lambda k, s, a, g: metrics.rescore(s, np.full((10, 6), np.nan)), "scores must be numbers"),
        (lambda k, s, a, g: metrics.rescore(s[:-1], np.ones((10, 6))), "got 9 for 10"),
    ],
)
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call(*crowd()[:4])


UNSOUND_SIGMAS = [
    (None, "got none"),
    ([], "got none"),
    ([np.nan] * 5, "got 5 of 5 that are not, the first nan"),
    ([0.1, 0.1, 0.0, 0.1, 0.1], "got 1 of 5 that are not, the first 0.0"),
    ([0.1, -0.05, -0.1, 0.1, 0.1], "got 2 of 5 that are not, the first -0.05"),
    ([0.1, 0.1, 0.1, 0.1, np.inf], "got 1 of 5 that are not, the first inf"),
    ([0.1, 0.1, 0.1, 0.1, 1e30], "got 1 of 5 that are not, the first 1e.30"),
    ([0.1, 1.01, 0.1, 5, 0.1], "got 2 of 5 that are not, the first 1.01"),
    ([0.1, True, 0.1, 0.1, 0.1], "got 1 of 5 that are not, the first True"),
    (np.ones(5, bool), "got 5 of 5 that are not, the first True"),
    (["0.05"] * 5, "got 5 of 5 that are not, the first 0.05"),
    ([0.1, None, 0.1, 0.1, 0.1], "got 1 of 5 that are not, the first None"),
    (0.05, "got 0.05 for"),
    ([[0.1] * 5], "got ..0.1, 0.1, 0.1, 0.1, 0.1.. for"),
    ("0.05", "got '0.05' for"),
    ([0.1, [0.1, 0.2]], "got .0.1, .0.1, 0.2.. for"),
]
REMEDY = "give those of a similar set, or for a new one 0.05 each, by dataclasses.replace"


@pytest.mark.parametrize(("sigmas", "found"), UNSOUND_SIGMAS)
def test_sigmas_that_measure_nothing_are_refused_at_every_door(sigmas, found):
    truth, detections, _ = mice()
    points, areas, scores = np.ones((2, 5, 2)), [100, 100], [0.5, 0.6]
    for call in (
        lambda: metrics.sound_sigmas(sigmas, 5),
        lambda: metrics.oks(points, points, np.ones((2, 5)), areas, sigmas),
        lambda: metrics.oks_between(points, areas, sigmas),
        lambda: metrics.oks_nms(points, scores, areas, sigmas),
        lambda: metrics.soft_oks_nms(points, scores, areas, sigmas),
        lambda: metrics.coco_ap(truth, detections, sigmas),
        lambda: metrics.coco_ap(truth, [], sigmas, nms="soft"),
    ):
        with pytest.raises(ValueError, match=f"one positive number per keypoint .*{found}.*; {REMEDY}") as error:
            call()
        assert "\n" not in str(error.value)


def test_sigmas_of_another_count_are_refused():
    with pytest.raises(ValueError, match="got .0.1, 0.1. for 5; give those"):
        metrics.sound_sigmas([0.1, 0.1], 5)
    truth, detections, sigmas = mice()
    for wrong in (sigmas[:-1], [*sigmas, 0.1], [0.05]):
        with pytest.raises(ValueError, match=f"for {len(wrong)} sigmas"):
            metrics.coco_ap(truth, detections, wrong)
        with pytest.raises(ValueError, match=f"for {len(wrong)} sigmas"):
            metrics.oks(np.ones((0, 5, 2)), np.ones((2, 5, 2)), np.ones((2, 5)), [9, 9], wrong)
    np.testing.assert_array_equal(metrics.sound_sigmas(np.float32([0.1, 0.2]), 2), np.float32([0.1, 0.2]))
    np.testing.assert_array_equal(metrics.sound_sigmas((1, np.float32(0.5), 1.0)), [1, 0.5, 1])


@pytest.mark.parametrize("area", [0, -5, np.nan, np.inf])
def test_areas_that_measure_nothing_are_refused(area):
    points, sigmas = np.ones((2, 3, 2)), [0.1] * 3
    sentence = "areas must be (positive, got .* for person 1|numbers)"
    with pytest.raises(ValueError, match=sentence):
        metrics.oks(points + 5000, points, np.ones((2, 3)), [100, area], sigmas)
    if area:  # somebody whose keypoints are one point has none, which is similar to nothing else
        with pytest.raises(ValueError, match=sentence):
            metrics.oks_nms(points, [0.5, 0.4], [100, area], sigmas)
    truth, detections, sigmas = mice()
    for labelled in (True, False):  # who is ignored must not hide detections either
        bad = changed(truth, "area", lambda areas: np.where(np.arange(len(areas)) == 3, area, areas))
        bad |= {} if labelled else {"visibility": np.zeros_like(truth["visibility"])}
        if labelled or area:
            with pytest.raises(ValueError, match="area of a person in image .* must be positive|areas must be numbers"):
                metrics.coco_ap(bad, detections, sigmas)


def test_a_true_keypoint_has_a_visibility():
    with pytest.raises(ValueError, match=r"visible must be \(2, 6\), one per true keypoint, got \(4, 3\)"):
        metrics.oks(np.zeros((0, 3, 2)), np.ones((2, 6, 2)), np.ones((4, 3)), [9] * 4, [0.1] * 3)


# --------------------------------------------------------------------------------------------------------------- COCO
FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def true_people(case):
    """The golden's people, as arrays and as the content of a file of COCO's."""
    keypoints, boxes = case["input_gt_keypoints"], case["input_gt_bbox"]
    arrays = {
        "image_id": case["input_gt_image_id"],
        "person_id": case["input_gt_id"],
        "keypoints": keypoints[..., :2],
        "visibility": keypoints[..., 2],
        "box": np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        "area": case["input_gt_area"],
        "is_crowd": case["input_gt_iscrowd"],
    }
    annotations = [
        {
            "id": int(arrays["person_id"][i]),
            "image_id": int(arrays["image_id"][i]),
            "category_id": 1,
            "keypoints": keypoints[i].reshape(-1).tolist(),
            "num_keypoints": int(case["input_gt_num_keypoints"][i]),
            "bbox": boxes[i].tolist(),
            "area": float(arrays["area"][i]),
            "iscrowd": int(arrays["is_crowd"][i]),
        }
        for i in range(len(boxes))
    ]
    images = [{"id": i} for i in case.config["image_ids"]]
    return arrays, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def detected_people(case):
    return {
        "image_id": case["input_det_image_id"],
        "keypoints": case["input_det_keypoints"][..., :2],
        "keypoint_scores": case["input_det_keypoints"][..., 2],
        "score": case["input_det_score"],
    }


def rescored_people(case):
    """As the published `evaluate` scores them; the area is that of the padded box."""
    people, boxes = detected_people(case), case["input_det_box_center_scale_area_score"]
    score = metrics.rescore(boxes[:, 5], people["keypoint_scores"], case.config["evaluate"]["in_vis_thre"])
    return people | {"score": score, "area": np.prod(boxes[:, 2:4] * 200, axis=1)}


def check_figures(case, output, figures):
    case.check(output, [figures[name] for name in FIGURES])


def test_how_alike_doubles_are_is_the_callers_choice():
    first, second = np.float64([[10, 10], [30, 30]]), np.float64([[110, 110], [130, 130]])
    boxes = [[0, 0, 40, 40], [100, 100, 140, 140]]
    truth = {"image_id": [1, 1], "keypoints": [first, second], "visibility": np.ones((2, 2)), "box": boxes}
    found = {"image_id": [1, 1, 1], "keypoints": np.array([first, first + 1, second]), "score": [0.9, 0.8, 0.7]}
    assert metrics.coco_ap(truth, found, [0.1, 0.1], nms="oks")["AP"] == 1  # the second is 0.94 like the first
    assert metrics.coco_ap(truth, found, [0.1, 0.1], nms="oks", nms_threshold=0.96)["AP"] < 0.9


def test_coco_ap_equals_the_published_evaluation(golden, capsys):
    case = golden("metric_coco_ap_a")
    arrays, content = true_people(case)
    assert tuple(case.config["stats"]) == FIGURES
    for truth in (arrays, content):
        figures = metrics.coco_ap(truth, detected_people(case), COCO.sigmas, curves=True)
        check_figures(case, "output_stats", figures)
        case.check("output_precision", figures["precision"])
        case.check("output_recall", figures["recall"])
    assert all(type(figures[name]) is float for name in FIGURES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "variant, arguments",
    [
        ("oks_nms", {"nms": "oks"}),
        ("oks_nms_0.5", {"nms": "oks", "nms_threshold": 0.5}),
        ("soft_nms", {"nms": "soft"}),
    ],
)
def test_coco_ap_equals_the_published_pipelines(golden, variant, arguments):
    case = golden("metric_coco_ap_a")
    figures = metrics.coco_ap(true_people(case)[0], rescored_people(case), COCO.sigmas, **arguments)
    check_figures(case, f"output_evaluate_{variant}_stats", figures)


def test_coco_ap_of_the_published_file(golden, shared_data, tmp_path):
    file = shared_data("coco_mini") / "person_keypoints_mini.json"
    case = golden("metric_coco_ap_a")
    people = detected_people(case)
    check_figures(case, "output_stats", metrics.coco_ap(file, people, COCO.sigmas))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(metrics.coco_results(people)))
    check_figures(case, "output_stats", metrics.coco_ap(str(file), str(results), COCO.sigmas))
    check_figures(
        case, "output_evaluate_oks_nms_stats", metrics.coco_ap(file, rescored_people(case), COCO.sigmas, nms="oks")
    )


def test_similarities_equal_those_of_the_published_evaluation(golden):
    case = golden("metric_coco_ap_a")
    truth, people = true_people(case)[0], detected_people(case)
    for image in case.config["image_ids"]:
        of_image = truth["image_id"] == image
        detected = np.flatnonzero(people["image_id"] == image)
        detected = detected[np.argsort(-people["score"][detected], kind="stable")][:20]
        similarity = metrics.oks(
            people["keypoints"][detected],
            *(truth[key][of_image] for key in ("keypoints", "visibility", "area")),
            COCO.sigmas,
            truth["box"][of_image],
        )
        case.check(f"output_oks_{image}", similarity if detected.size else np.zeros(0))


def mice(num_people=30, num_joints=5, seed=0):
    """True animals of a skeleton of five in six images, and noisy detections of most of them."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 900, (num_people, 1, 2))
    keypoints = corner + random.uniform(0, 60, (num_people, num_joints, 2))
    truth = {
        "image_id": np.arange(num_people) % 6,
        "person_id": np.arange(num_people),
        "keypoints": keypoints,
        "visibility": random.integers(0, 3, (num_people, num_joints)),
        "box": np.concatenate([corner[:, 0], corner[:, 0] + 60], axis=1),
        "area": np.full(num_people, 3600.0),
    }
    truth["visibility"][:, 0] = 2
    found = np.flatnonzero(random.random(num_people) < 0.8)
    detections = {
        "image_id": truth["image_id"][found],
        "keypoints": keypoints[found] + random.normal(0, 4, (len(found), num_joints, 2)),
        "keypoint_scores": random.random((len(found), num_joints)),
        "score": random.random(len(found)),
    }
    return truth, detections, random.uniform(0.04, 0.12, num_joints)


def slow_average_precision(truth, detections, sigmas, threshold):
    """COCO's interpolated average precision, where nobody is ignored, and the recall."""
    order, free, hits = np.argsort(-detections["score"], kind="stable"), set(range(len(truth["image_id"]))), []
    for d in order:
        candidates = [g for g in free if truth["image_id"][g] == detections["image_id"][d]]
        similarity = {
            g: slow_oks(
                detections["keypoints"][d],
                truth["keypoints"][g],
                truth["area"][g],
                sigmas,
                truth["visibility"][g] > 0,
            )
            for g in candidates
        }
        best = max(similarity, key=similarity.get, default=None)
        hits.append(best is not None and similarity[best] >= threshold)
        free -= {best} if hits[-1] else set()
    true = np.cumsum(hits)
    recall, precision = true / len(truth["image_id"]), true / np.arange(1, len(hits) + 1)
    return np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)]), recall[-1]


def test_coco_ap_equals_the_loop_for_another_skeleton():
    truth, detections, sigmas = mice()
    expected = [slow_average_precision(truth, detections, sigmas, t) for t in np.linspace(0.5, 0.95, 10)]
    figures = metrics.coco_ap(truth, detections, sigmas)
    assert figures["AP"] == pytest.approx(np.mean([ap for ap, _ in expected]))
    assert (figures["AP50"], figures["AP75"]) == pytest.approx((expected[0][0], expected[5][0]))
    assert (figures["AR"], figures["AR50"]) == pytest.approx((np.mean([ar for _, ar in expected]), expected[0][1]))
    assert 0.1 < figures["AP"] < figures["AP50"] < 1
    assert figures["ARm"] == pytest.approx(figures["AR"]) and figures["APl"] == figures["ARl"] == -1  # no large ones


def test_coco_ap_does_not_round():
    truth, detections, sigmas = mice()
    detections["keypoints"] = truth["keypoints"][:20] + 0.3
    detections |= {"image_id": truth["image_id"][:20], "score": np.ones(20)}
    tight = np.full(5, 0.004)  # a third of a pixel matters
    figures = metrics.coco_ap({key: value[:20] for key, value in truth.items()}, detections, tight)
    similarity = slow_oks(detections["keypoints"][0], truth["keypoints"][0], 3600.0, tight)
    assert 0.5 < similarity < 0.95
    assert figures["AR"] == pytest.approx(np.mean(np.linspace(0.5, 0.95, 10) <= similarity))


def test_coco_ap_does_not_depend_on_the_numbers_of_people():
    truth, detections, sigmas = mice()
    expected = metrics.coco_ap(truth, detections, sigmas)
    for numbers in (np.arange(30), np.arange(30)[::-1] * 7, np.arange(30) // 6):  # once an image is enough
        assert metrics.coco_ap(truth | {"person_id": numbers}, detections, sigmas) == expected
    with pytest.raises(ValueError, match="each person must be given once, got 3 of image 2 again"):
        metrics.coco_ap(truth | {"person_id": np.where(np.arange(30) % 6 == 2, 3, np.arange(30))}, detections, sigmas)


def test_coco_ap_of_perfect_missing_and_superfluous_detections():
    truth, _, sigmas = mice()
    perfect = {key: truth[key] for key in ("image_id", "keypoints")} | {"score": np.linspace(0.5, 0.9, 30)}
    assert metrics.coco_ap(truth, perfect, sigmas)["AP"] == pytest.approx(1.0)
    for nobody in ([], {"image_id": [], "keypoints": np.zeros((0, 5, 2)), "score": []}):
        for nms in (None, "oks", "soft"):
            figures = metrics.coco_ap(truth, nobody, sigmas, nms=nms)
            assert figures["AP"] == figures["AP50"] == figures["APm"] == figures["AR"] == 0 and figures["APl"] == -1
    with_stranger = {key: np.concatenate([value, value[:1]]) for key, value in perfect.items()}
    with_stranger["image_id"][-1], with_stranger["score"][-1] = 99, 1.0
    with pytest.raises(ValueError, match="image_id must be one of the ground truth's, got 99; give image_ids"):
        metrics.coco_ap(truth, with_stranger, sigmas)
    assert metrics.coco_ap(truth, with_stranger, sigmas, image_ids=range(100))["AP"] < 0.99


def test_coco_ap_of_some_images_only():
    truth, detections, sigmas = mice()
    few = {key: value[truth["image_id"] < 2] for key, value in truth.items()}
    found = {key: value[detections["image_id"] < 2] for key, value in detections.items()}
    assert metrics.coco_ap(truth, found, sigmas, image_ids=[0, 1]) == metrics.coco_ap(few, found, sigmas)
    assert metrics.coco_ap(truth, found, sigmas)["AR"] < metrics.coco_ap(few, found, sigmas)["AR"]


def test_coco_ap_drops_doubles_and_counts_the_best():
    truth, _, sigmas = mice()
    perfect = {key: truth[key] for key in ("image_id", "keypoints")} | {"score": np.linspace(0.5, 0.9, 30)}
    twice = {key: np.concatenate([value, value]) for key, value in perfect.items()}
    twice["keypoints"][30:] += 1
    doubled = metrics.coco_ap(truth, twice, sigmas)["AP"]
    assert doubled < 0.9
    assert metrics.coco_ap(truth, twice, sigmas, nms="oks", nms_threshold=0.7)["AP"] == pytest.approx(1.0)
    one = metrics.coco_ap(truth, perfect, sigmas, max_people=1)
    assert one["AR"] == pytest.approx(6 / 30)  # the best of each of six images


def test_crowds_and_people_without_keypoints_do_not_count():
    truth, _, sigmas = mice()
    perfect = {key: truth[key][:-6] for key in ("image_id", "keypoints")} | {"score": np.linspace(0.5, 0.9, 24)}
    assert metrics.coco_ap(truth, perfect, sigmas)["AP"] < 0.9
    assert metrics.coco_ap(truth | {"is_crowd": np.arange(30) >= 24}, perfect, sigmas)["AP"] == pytest.approx(1.0)
    unlabelled = truth | {"visibility": np.full((30, 5), 2) * (np.arange(30) < 24)[:, None]}
    assert metrics.coco_ap(unlabelled, perfect, sigmas)["AP"] == pytest.approx(1.0)
    without_areas = {key: value for key, value in truth.items() if key != "area"}
    assert metrics.coco_ap(without_areas, perfect, sigmas) == metrics.coco_ap(truth, perfect, sigmas)


def test_coco_ap_averages_over_categories():
    truth, detections, sigmas = mice()
    parts = [slice(0, 12), slice(12, 30)]
    content = {"categories": [{"id": 3}, {"id": 8}], "images": [{"id": i} for i in range(6)], "annotations": []}
    category = np.where(np.arange(30) < 12, 3, 8)
    for i in range(30):
        labels = np.append(truth["keypoints"][i], truth["visibility"][i][:, None], axis=1)
        content["annotations"].append(
            {
                "image_id": int(truth["image_id"][i]),
                "category_id": int(category[i]),
                "keypoints": labels.reshape(-1).tolist(),
                "bbox": [0, 0, 60, 60],
            }
        )
    noisy = {key: truth[key] for key in ("image_id", "keypoints")} | {"score": np.ones(30)}
    noisy["keypoints"] = noisy["keypoints"] + np.random.default_rng(0).normal(0, 4, (30, 5, 2))
    each = [
        metrics.coco_ap({k: v[part] for k, v in truth.items()}, {k: v[part] for k, v in noisy.items()}, sigmas)["AP"]
        for part in parts
    ]
    both = metrics.coco_ap(content, noisy | {"category_id": category}, sigmas)["AP"]
    assert both == pytest.approx(np.mean(each)) and each[0] != each[1]
    with pytest.raises(ValueError, match="must have a category_id where there are 2"):
        metrics.coco_ap(content, noisy, sigmas)
    with pytest.raises(ValueError, match="category_id must be one of the ground truth's, got 4"):
        metrics.coco_ap(content, noisy | {"category_id": np.full(30, 4)}, sigmas)


def changed(mapping, key, change):
    return {k: change(np.array(v)) if k == key else v for k, v in mapping.items()}


def unnumbered(values):
    values = values.astype("float64")
    values.reshape(-1)[0] = np.nan
    return values


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda t, d: (t, changed(d, "keypoints", unnumbered)), "detected keypoints must be numbers"),
        (lambda t, d: (t, changed(d, "score", unnumbered)), "scores must be numbers"),
        (lambda t, d: (changed(t, "keypoints", unnumbered), d), "keypoints, box and area of a person in image 0"),
        (lambda t, d: (changed(t, "box", unnumbered), d), "keypoints, box and area of a person in image 0"),
        (lambda t, d: (changed(t, "area", unnumbered), d), "areas must be numbers"),
        (lambda t, d: (changed(t, "area", np.zeros_like), d), "area of a person in image 0 must be positive"),
        (lambda t, d: (changed(t, "keypoints", lambda x: x[:, :4]), d), r"keypoints \[A, 5, 2\]"),
        (lambda t, d: (changed(t, "box", lambda x: x[:-1]), d), r"box \[A, 4\]"),
        (lambda t, d: (t, changed(d, "keypoints", lambda x: x[:, :4])), r"detected keypoints must be \[N, 5, 2\]"),
        (lambda t, d: (t, changed(d, "score", lambda x: x[:-1])), "scores must be one per person"),
        (lambda t, d: ({k: v for k, v in t.items() if k != "box"}, d), "ground_truth must have .* got none of box"),
        (lambda t, d: (t, {k: v for k, v in d.items() if k != "score"}), "detections must have .* none of score"),
        (lambda t, d: (t, [{"image_id": 0, "keypoints": [1, 2, 3], "score": 1}]), "3 x 5 numbers .* got 3"),
        (lambda t, d: ({"annotations": []}, []), "must have images, got none"),
    ],
)
def test_coco_ap_refuses_what_it_cannot_measure(change, match):
    truth, detections, sigmas = mice()
    with pytest.raises(ValueError, match=match):
        metrics.coco_ap(*change(truth, detections), sigmas)


def test_a_person_without_a_labelled_keypoint_fits_nothing_whatever_the_file_says():
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 60, 60], "area": 3600, "iscrowd": 0}
    person |= {"keypoints": [0, 0, 0] * 3, "num_keypoints": 3}
    found = [{"image_id": 1, "category_id": 1, "keypoints": [30, 30, 1] * 3, "score": 0.9}]
    content = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [person]}
    assert metrics.coco_ap(content, found, [0.05] * 3)["AP"] == -1
    nobody = {"image_id": [1], "keypoints": np.ones((1, 3, 2)), "visibility": np.zeros((1, 3)), "box": [[0, 0, 60, 60]]}
    assert metrics.coco_ap(nobody, found, [0.05] * 3)["AP"] == -1


def test_coco_ap_suppresses_as_it_is_told_to(monkeypatch):
    """In one way or the other, each image for itself, by the areas that it is given."""
    told, people = [], metrics.average_precision
    monkeypatch.setattr(people, "oks_nms", lambda *given: told.append(("oks", *given)) or [1])
    monkeypatch.setattr(people, "soft_oks_nms", lambda *given: told.append(("soft", *given)) or ([0], None))
    truth = {"image_id": [7, 5], "keypoints": np.ones((2, 2, 2)), "visibility": np.full((2, 2), 2)}
    truth["box"] = [[0, 0, 60, 70]] * 2
    found = {"image_id": [7, 7, 5], "keypoints": np.arange(12.0).reshape(3, 2, 2), "score": [0.1, 0.2, 0.3]}
    kept = []
    monkeypatch.setattr(people, "_evaluate", lambda truth, left, sigmas, most: kept.append((left, most)) or 1 / 0)
    for nms, most in (("oks", 20), ("soft", 3)):
        options = {} if nms == "oks" else {"nms_threshold": 0.4, "max_people": most}
        found |= {} if nms == "oks" else {"area": [4.0, 5.0, 6.0]}
        given = {key: value[:2] for key, value in found.items()}
        with pytest.raises(ZeroDivisionError):
            metrics.coco_ap(truth, given, [0.1, 0.1], nms=nms, **options)
        with pytest.raises(ZeroDivisionError):
            metrics.coco_ap(
                truth,
                {key: value[2:] for key, value in found.items()} if nms == "soft" else given,
                [0.1, 0.1],
                nms=nms,
                **options,
            )
    assert [one[0] for one in told] == ["oks", "oks", "soft", "soft"]
    assert [one[5] for one in told] == [0.9, 0.9, 0.4, 0.4] and [one[1] for one in kept] == [20, 20, 3, 3]
    assert told[0][3] == [4.0, 4.0] and told[2][3] == [4.0, 5.0] and told[3][3] == [6.0]  # else of the keypoints
    assert [one["score"] for left, _ in kept for one in left] == [0.2, 0.2, 0.1, 0.3]


def test_what_was_not_measured_is_in_no_mean():
    means = metrics.average_precision._known_mean(np.array([[-1, 0.5, 0.7], [-1, -1, 0.0]]), axis=1)
    assert means == pytest.approx([0.6, 0.0]) and metrics.average_precision._known_mean(np.array([-1.0, -1])) == -1


def test_coco_ap_knows_two_ways_of_suppression():
    with pytest.raises(ValueError, match="got 'hard'"):
        metrics.coco_ap(*mice(), nms="hard")


def test_coco_ap_changes_nothing_that_it_is_given(golden):
    _, content = true_people(golden("metric_coco_ap_a"))
    results = metrics.coco_results(detected_people(golden("metric_coco_ap_a")))
    before = json.dumps([content, results])
    metrics.coco_ap(content, results, COCO.sigmas)
    assert json.dumps([content, results]) == before


def test_coco_results_are_what_the_server_takes():
    detections = {
        "image_id": np.array([7], "int32"),
        "keypoints": np.array([[[1.26, 2.0], [3.0, 4.04]]], "float64"),
        "keypoint_scores": np.array([[0.5, 0.25]], "float32"),
        "score": np.array([0.75], "float32"),
    }
    expected = {"image_id": 7, "category_id": 1, "keypoints": [1.26, 2.0, 0.5, 3.0, 4.04, 0.25], "score": 0.75}
    assert metrics.coco_results(detections) == [expected]
    rounded = expected | {"keypoints": [1.3, 2.0, 0.5, 3.0, 4.0, 0.25]}
    assert metrics.coco_results(detections, decimals=1) == [rounded]
    assert metrics.coco_results(detections, category_id=3) == [expected | {"category_id": 3}]
    assert json.loads(json.dumps(metrics.coco_results(detections))) == [expected]
    with pytest.raises(ValueError, match="must be numbers"):
        metrics.coco_results(changed(detections, "keypoint_scores", unnumbered))
