"""Published checkpoints by name: the table, how their files come, and what becomes of them."""

import concurrent.futures
import hashlib
import os
import pathlib
import re

import keras
import numpy as np
import pytest

from kerapose import commands, estimators, models, predictors, presets, skeletons, weights
from kerapose.estimators import published
from kerapose.ops import heatmaps
from kerapose.presets import table
from kerapose.weights import matching

# Measured networks of the references, whose state dicts have the names of published files: of a class, of a variant.
GOLDENS = {
    "SimpleBaseline": "simplebaseline_r50_128x96",
    "HRNet": "hrnet_w32_128x96",
    "StackedHourglass": "hourglass_2stack_128",
    "ConvolutionalPoseMachine": "cpm_6stage_128x96",
    "DeepPose": "deeppose_r50_128x96",
    "RTMPose": "rtmpose_t_256x192",
    "LightweightOpenPose": "lwopenpose_1ref_128x160",
    "TemporalLifter": "temporal_27",
    "C3D": "c3d_light",
    "SlowOnly": "slowonly_heatmap",
    "X3D": "x3d_shallow",
    "MC3ResNet18": "mc3_18",
    "RGBPoseConv3D": "rgbpose",
}
LARGE = {"hourglass8", "w48", "resnet34", "resnet101", "resnet152"}  # the same blocks as others, and more of them
LARGE |= {"rtmpose_l", "rtmpose_x", "deeppose_r101", "deeppose_r152", "deeppose_r101_rle", "deeppose_r152_rle"}
EXACT = {
    "resnet50",
    "w32",
    "c3d_light",
    "slowonly",
    "x3d_shallow",
    "mc3_18",
    "rgbpose",
    "rtmpose_t",
    "cpm",
    "deeppose_r50",
}
NETWORKS = sorted({(presets.get(name).network, presets.get(name).variant) for name in presets.names()})


# ---------------------------------------- the table
@pytest.mark.parametrize("name", presets.names())
def test_every_row_is_whole(name):
    preset = presets.get(name)
    assert preset.name == name and preset.task in presets.TASKS and preset.data
    assert preset.variant in getattr(models, preset.network).VARIANTS
    for file in preset.files:
        assert file.url.startswith(("https://", "http://")) and "." in file.name
        assert all(set(known) <= set("0123456789abcdef") and len(known) in (8, 64) for known in file.hashes)
        for known in file.hashes:  # publishers that have the beginning of it in the name
            assert len(known) == 64 or known in file.name
    sets = [skeletons.get(one) for one in preset.keypoints]
    if preset.task == "top-down pose":
        assert sets[0].num_keypoints == preset.outputs and preset.kind in heatmaps.ALL_CODECS
    if preset.task == "lifting":
        assert [one.num_keypoints for one in sets] == [17, preset.outputs]
    if preset.classes:
        names = presets.class_names(preset.classes)
        assert len(names) == preset.outputs and all(names)
        assert len(names) - len(set(names)) == (preset.classes == "gym99")  # one element of two exercises


def test_names_go_by_task_and_class():
    assert presets.names(task="lifting") == ["lifter_h36m_cpn", "lifter_h36m_coco", "lifter_humaneva15_coco"]
    assert set(presets.names(network="HRNet")) == {name for name in presets.names() if name.startswith("hrnet")}
    assert len(presets.names()) == sum(len(presets.names(task)) for task in presets.TASKS)
    with pytest.raises(ValueError, match="task must be one of top-down pose, .*, got 'poses'; use one of them"):
        presets.names(task="poses")
    with pytest.raises(ValueError, match="There are presets of C3D, .*HRNet, .*, got 'HRnet'; use one of them"):
        presets.names(network="HRnet")


def test_of_an_unknown_name_the_nearest_are_told():
    with pytest.raises(ValueError, match="no preset 'hrnet_w32_coco', .*; the nearest are .*hrnet_w32_coco_256x192"):
        presets.get("hrnet_w32_coco")
    with pytest.raises(ValueError, match="A preset goes by its name, got None; presets.names.. has all"):
        presets.get(None)
    with pytest.raises(ValueError, match="names of the classes of .*ntu60.*, got 'nobodys'; use one of them"):
        presets.class_names("nobodys")


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_what_looks_like_a_path_is_no_name(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert not any(presets.is_name(kind(path)) for path in ("mine", "a.keras", "runs/a", str(tmp_path / "absent")))
    assert presets.is_name(kind("hrnet_w32_coco_256x192")) == (kind is str)
    assert not presets.is_name(kind("x" * 5000))


def test_a_folder_hides_a_preset_only_if_a_model_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lifter_h36m_cpn"
    folder.mkdir()
    assert presets.is_name("lifter_h36m_cpn")
    (folder / "model.keras").touch()
    assert not presets.is_name("lifter_h36m_cpn")


@pytest.mark.parametrize(
    "network, variant",
    [
        pytest.param(*pair, marks=[pytest.mark.slow] if pair[1] in LARGE else [])
        for pair in NETWORKS
        if pair[1] != "openpose_omz"  # whose names are not PyTorch's
    ],
)
def test_names_of_weights_are_those_of_the_published_network(golden, network, variant):
    """Of a variant that was not measured, they are of the same kinds, with other numbers."""
    rows = [presets.get(name) for name in presets.names(network=network)]
    row = next(row for row in rows if row.variant == variant)
    starts = {"SimpleBaseline": {"num_joints": 17}, "HRNet": {"num_joints": 17}, "LightweightOpenPose": {}}
    arguments = starts[network] if row.task == "start" else row.arguments
    with keras.StatelessScope():
        model = getattr(models, network).from_variant(variant, **arguments)
    ours = set(matching.slots_of(model)) | set(model.unused_torch_weights())
    state = golden(GOLDENS[network]).state_dict
    if variant.endswith("_rle"):
        flow = golden("deeppose_rle_r18_128x96").state_dict
        state = state | {name.split("loss_module.")[1]: flow[name] for name in flow if "flow_model" in name}
    theirs = {re.sub(r"^(backbone|cls_head|head|model|module)\.(?!\d)", "", name) for name in state}
    theirs = {name for name in theirs if not name.endswith("num_batches_tracked")}
    if variant in EXACT:
        assert ours == theirs
    assert kinds(ours) == kinds(theirs)


def kinds(names):
    return {re.sub(r"\d+", "#", name) for name in names}


# ---------------------------------------- files
@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAPOSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """A function that puts a preset into the table whose file is given, and gives its row."""

    def offered(content, like="resnet50_coco_256x192", suffix=".pth", hashed=8, **changes):
        path = tmp_path / f"published{suffix}"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()[:hashed]
        file = presets.File(path.as_uri(), (digest,) if hashed else ())
        row = table.dataclasses.replace(presets.get(like), name="mine", files=(file,), **changes)
        known = table._table() | {"mine": row}
        monkeypatch.setattr(table, "_table", lambda: known)
        return row

    return offered


@pytest.mark.parametrize("hashed", [0, 8, 64])
def test_a_file_is_fetched_once_and_checked(home, offer, hashed, capsys):
    row = offer(b"\x80weights", hashed=hashed)
    path = presets.fetch("mine")
    assert path == home / "mine" / "published.pth" and path.read_bytes() == b"\x80weights"
    assert capsys.readouterr().out == ""  # nobody looks on, so that no bar is drawn
    pathlib.Path(row.files[0].url.removeprefix("file://")).unlink()  # it is not needed again
    assert presets.fetch(row) == path
    assert os.listdir(path.parent) == ["published.pth"]


def test_files_are_kept_in_keras_own_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAPOSE_HOME", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    preset = presets.get("lifter_h36m_cpn")
    assert presets.files.folder_of(preset) == tmp_path / "keras" / "kerapose" / "lifter_h36m_cpn"
    monkeypatch.delenv("KERAS_HOME")
    assert presets.files.folder_of(preset) == pathlib.Path.home() / ".keras" / "kerapose" / "lifter_h36m_cpn"


def test_who_is_offline_is_told_where_to_put_the_file(home, offer):
    row = offer(b"weights")
    source = pathlib.Path(row.files[0].url.removeprefix("file://"))
    source.unlink()
    place = home / "mine" / "published.pth"
    with pytest.raises(
        presets.FetchError, match="^The file of mine cannot be fetched .*; fetch published.pth from "
    ) as error:
        presets.fetch("mine")
    where = f"{row.files[0].url} elsewhere, and put it into {place.parent} (KERAPOSE_HOME may name another folder than"
    assert str(error.value).endswith(f"{where} {home}).")
    assert os.listdir(place.parent) == []  # and nothing half is left
    place.write_bytes(b"weights")
    assert presets.fetch("mine") == place


def test_who_is_offline_is_told_all_files_that_are_missing(home, tmp_path):
    files = [presets.File((tmp_path / name).as_uri(), ()) for name in ("net.xml", "net.bin", "more.bin")]
    row = table.dataclasses.replace(presets.get("openpose_omz"), name="mine", files=tuple(files))
    (home / "mine").mkdir(parents=True)
    (home / "mine" / "net.xml").write_bytes(b"<?xml")
    with pytest.raises(presets.FetchError, match="^The files of mine cannot be fetched") as error:
        presets.fetch(row)
    told = f"fetch net.bin from {files[1].url} and more.bin from {files[2].url} elsewhere, and put them into "
    assert f"{told}{home / 'mine'} " in str(error.value) and "net.xml" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["fetched", "put there"])
def test_a_file_of_another_hash_is_refused_and_removed(home, offer, how):
    row = offer(b"weights")
    place = home / "mine" / "published.pth"
    if how == "fetched":
        pathlib.Path(row.files[0].url.removeprefix("file://")).write_bytes(b"others")
    else:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"weig")  # half a file
    with pytest.raises(
        presets.FetchError, match=f"SHA-256 of the file of mine must be .*, got .* was {how} and is rem"
    ):
        presets.fetch("mine")
    assert os.listdir(place.parent) == []


def test_what_was_left_half_is_not_taken_for_the_file(home, offer):
    row = offer(b"\x80 a checkpoint", hashed=0)
    place = home / "mine"
    place.mkdir(parents=True)
    (place / f".published.pth.{os.getpid()}.part").write_bytes(b"half")
    (place / ".of_yesterday.part").write_bytes(b"half")
    os.utime(place / ".of_yesterday.part", (0, 0))
    assert presets.fetch(row).read_bytes() == b"\x80 a checkpoint"
    assert not (place / ".of_yesterday.part").exists()


def test_several_may_fetch_at_once(home, offer):
    offer(b"\x80" + bytes(10_000_000), hashed=0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: presets.fetch("mine").stat().st_size, range(4)))
    assert sizes == [10_000_001] * 4 and os.listdir(home / "mine") == ["published.pth"]


@pytest.mark.parametrize("content", [b"<html>404</html>", b"", b"PK\x03\x04 cut short"])
def test_what_is_no_checkpoint_is_refused_and_removed_where_no_hash_is_known(home, offer, content):
    offer(content, hashed=0)
    with pytest.raises(presets.FetchError, match="must be a checkpoint, got something else, or a part of one, fetched"):
        presets.fetch("mine")
    assert os.listdir(home / "mine") == []


def test_a_place_that_takes_no_files_is_told_before_anything_is_fetched(tmp_path, offer, monkeypatch):
    row = offer(b"\x80", hashed=0)
    (tmp_path / "file").touch()
    (tmp_path / "home" / "mine" / "published.pth").mkdir(parents=True)
    for home in (tmp_path / "file", tmp_path / "home", "~nobody_of_this_name/home"):
        monkeypatch.setenv("KERAPOSE_HOME", str(home))
        with pytest.raises(
            presets.FetchError, match="of mine goes to .*, which cannot be .*; set KERAPOSE_HOME to a fol"
        ):
            presets.fetch(row)


# ---------------------------------------- networks
def tiny_state(num_joints=17, seed=0):
    """A SimpleBaseline's weights as MMPose saves them, and the network that has them."""
    torch = pytest.importorskip("torch")
    random, network = np.random.default_rng(seed), models.SimpleBaseline.from_variant("resnet18_tiny", num_joints)
    state = {}
    for weight in network.weights:
        weight.assign(
            random.uniform(0.5, 1.0, weight.shape) if "variance" in weight.path else random.normal(0, 0.1, weight.shape)
        )
    for name, (variable, _) in matching.slots_of(network).items():
        array = np.array(variable)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        head = name.startswith(("deconv_layers", "final_layer"))
        state[f"{'head' if head else 'backbone'}.{name}"] = torch.tensor(np.ascontiguousarray(array))
    return network, {"meta": {"epoch": 210}, "state_dict": state}


@pytest.fixture
def published_network(home, offer, tmp_path):
    """A network whose preset "mine" stands in the table."""
    torch = pytest.importorskip("torch")
    network, content = tiny_state()
    torch.save(content, tmp_path / "content")
    size = models.SimpleBaseline.argument_of("resnet18_tiny", "image_shape")[:2]
    offer((tmp_path / "content").read_bytes(), variant="resnet18_tiny", size=size)
    return network


def same_weights(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours.weights, theirs.weights, strict=True))


def test_a_network_comes_by_name_with_its_weights(published_network):
    network = models.SimpleBaseline.from_preset("mine")
    assert same_weights(network, published_network)
    with pytest.raises(ValueError, match="The preset mine is of models.SimpleBaseline, got HRNet; use that class"):
        models.HRNet.from_preset("mine")
    with pytest.raises(
        ValueError, match=r"no head for people; build .*load_backbone\(network, presets.fetch\('resnet50_im"
    ):
        models.SimpleBaseline.from_preset("resnet50_imagenet")


def test_another_size_keeps_all_weights_and_other_joints_are_refused(published_network, monkeypatch):
    network = models.SimpleBaseline.from_preset("mine", image_shape=(64, 96, 3), name="other")
    assert network.image_shape == (64, 96, 3) and network.name == "other" and same_weights(network, published_network)
    monkeypatch.setattr(presets, "fetch", lambda preset: pytest.fail("it is fetched"))
    for given in ((14,), ()):
        with pytest.raises(
            ValueError, match="A preset for top-down pose keeps its num_joints, 17 of mine, got 14; train"
        ):
            models.SimpleBaseline.from_preset("mine", *given, **({} if given else {"num_joints": 14}))
    with pytest.raises(ValueError, match="A preset for lifting keeps its num_joints_out, 17 of lifter_h36m_cpn, got 5"):
        models.TemporalLifter.from_preset("lifter_h36m_cpn", 5)
    with pytest.raises(ValueError, match="SimpleBaseline.from_preset takes one num_joints, got more; leave one out"):
        models.SimpleBaseline.from_preset("mine", 17, num_joints=17)
    with pytest.raises(ValueError, match="SimpleBaseline has the arguments num_joints, .*, got 'num_joint'; correct"):
        models.SimpleBaseline.from_preset("mine", num_joint=17)


def test_a_predictor_comes_by_name_as_it_was_trained(published_network):
    find = predictors.load("mine", flip_test=False)
    assert isinstance(find, predictors.TopDownPose) and same_weights(find.estimator.network, published_network)
    assert find.skeleton == skeletons.COCO and find.estimator.codec == "gaussian" and not find.estimator.flip_test
    assert find.estimator.training["preset"] == "mine" and find.estimator.training["figures"] == "AP 0.718, AR 0.774"
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), "uint8")
    own = predictors.TopDownPose(published_network, skeletons.COCO, codec="gaussian", flip_test=False)
    assert find(image)[0]["nose"] == own(image)[0]["nose"]


def test_the_command_takes_a_name(published_network, tmp_path, capsys):
    keras.utils.save_img(tmp_path / "one.png", np.zeros((40, 30, 3)))
    commands.main(["predict", tmp_path / "one.png", "--model=mine", f"--output={tmp_path / 'out'}"])
    assert (tmp_path / "out" / "one.json").is_file()
    with pytest.raises(SystemExit):
        commands.main(["predict", tmp_path / "one.png", "--model=hrnet_w32"])
    assert (
        "kerapose predict: There is no preset 'hrnet_w32', nor such a file or folder; the nearest are hrnet_w32_"
        in (capsys.readouterr().err)
    )


def test_the_command_refuses_a_preset_for_something_else_before_it_is_fetched(home, tmp_path, capsys):
    keras.utils.save_img(tmp_path / "one.png", np.zeros((40, 30, 3)))
    for option, said in (
        (
            "--model=lifter_h36m_cpn",
            "--model must be for top-down pose or bottom-up pose, got the preset lifter_h36m_cpn",
        ),
        (
            "--model=slowonly_ntu60_xsub_joint",
            "got the preset slowonly_ntu60_xsub_joint for skeleton actions; kerapose",
        ),
    ):
        with pytest.raises(SystemExit):
            commands.main(["predict", tmp_path / "one.png", option])
        assert said in capsys.readouterr().err
    assert not home.exists()


def test_the_command_lists_them(capsys):
    commands.main(["presets", "--task=lifting"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "lifting" and len(said) == 4
    assert said[1].split(None, 1) == ["lifter_h36m_cpn", "VideoPose3D, Human3.6M, MPJPE 46.8 mm, P-MPJPE 36.5 mm"]
    commands.main(["presets"])
    assert len(capsys.readouterr().out.splitlines()) == len(presets.names()) + len(presets.TASKS)


def test_other_actions_begin_with_a_new_head(home, offer, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = models.C3D.from_variant("c3d_tiny", 60)
    state = {}
    for name, (variable, _) in matching.slots_of(theirs).items():
        array = np.array(variable)
        array = array.transpose(4, 3, 0, 1, 2) if array.ndim == 5 else array.T if array.ndim == 2 else array
        state[("cls_head." if "fc_cls" in name else "backbone.") + name] = torch.tensor(np.ascontiguousarray(array))
    torch.save({"state_dict": state}, tmp_path / "content")
    content = (tmp_path / "content").read_bytes()
    offer(content, like="c3d_light_ntu60_xsub_joint", variant="c3d_tiny", hashed=0)
    assert same_weights(models.C3D.from_preset("mine"), theirs)
    for network in (models.C3D.from_preset("mine", 5), models.C3D.from_preset("mine", num_classes=5, dropout=0.1)):
        assert network.output_shape == (None, 5)
        np.testing.assert_array_equal(network.layers[1].weights[0], theirs.layers[1].weights[0])
    assert network.dropout == 0.1


# ---------------------------------------- one's own
def test_a_network_and_an_estimator_of_ones_own_go_by_their_folder(tmp_path):
    network = models.SimpleBaseline.from_variant("resnet18_tiny", 17)
    network.save_preset(tmp_path / "network")
    assert same_weights(models.SimpleBaseline.from_preset(tmp_path / "network"), network)
    estimator = estimators.PoseEstimator(network, skeletons.COCO, codec="dark", training={"by": "me"})
    estimator.save_preset(str(tmp_path / "estimator"))
    find = predictors.load(str(tmp_path / "estimator"))
    assert find.estimator.codec == "dark" and find.estimator.training == {"by": "me"}
    assert same_weights(models.SimpleBaseline.from_preset(tmp_path / "estimator" / "model.keras"), network)
    with pytest.raises(ValueError, match="estimator must have a HRNet, got PoseEstimator of SimpleBaseline; use its"):
        models.HRNet.from_preset(tmp_path / "estimator")
    with pytest.raises(ValueError, match="A file has a network as it is, got .* and changes; give the file alone"):
        models.SimpleBaseline.from_preset(tmp_path / "network", num_joints=3)
    with pytest.raises(FileNotFoundError, match="absent.keras, where there is no file"):
        models.SimpleBaseline.from_preset("absent.keras")


# ---------------------------------------- estimators of all tasks
@pytest.mark.parametrize(
    "name",
    [
        *("resnet152_coco_384x288_dark", "hourglass2_mpii_256x256", "rtmpose_m_hand_256x256"),
        *("cpm_mpii_368x368", "deeppose_r50_coco_256x192_rle"),
        *("openpose_omz", "lifter_humaneva15_coco"),
    ],
)
def test_estimators_are_as_the_published_test(monkeypatch, name):
    """Of networks that have no weights here."""
    made = {}

    def from_preset(cls, name):
        preset = presets.get(name)
        made["network"] = cls.from_variant(preset.variant, **preset.arguments)
        return made["network"]

    monkeypatch.setattr(models.network.Network, "from_preset", classmethod(from_preset))
    with keras.StatelessScope():
        estimator = published.estimator_of(name)
    if name.startswith("resnet152"):
        assert estimator.image_size == (384, 288) and estimator.decoding == {"blur_kernel": 17}
        assert estimator.codec == "dark" and estimator.normalization == {}
    elif name.startswith("hourglass"):
        assert estimator.normalization == {"mean": [0.0] * 3, "std": [1.0] * 3} and estimator.skeleton == skeletons.MPII
    elif name.startswith("rtmpose"):
        assert estimator.image_size == (256, 256) and estimator.codec == "simcc" and estimator.flip_test
        assert estimator.skeleton == skeletons.HAND and estimator.normalization == {} and not estimator.shift
    elif name.startswith(("cpm", "deeppose")):
        preset = presets.get(name)
        assert estimator.codec == preset.kind and estimator.shift and estimator.normalization == {}
        assert estimator.image_size == preset.size and estimator.flip_test
    elif name.startswith("openpose"):
        assert estimator.normalization == {"mean": [0.502] * 3, "std": [1.0] * 3, "bgr": True}
        assert estimator.skeleton == skeletons.OPENPOSE
    else:
        assert (estimator.skeleton, estimator.pose_skeleton) == (skeletons.COCO, skeletons.HUMANEVA)


def test_what_sees_no_people_has_no_predictor():
    for name in ("resnet50_imagenet", "mc3_18_kinetics400"):
        with pytest.raises(ValueError, match=f"preset {name} is of a network that sees no people by itself; use it as"):
            predictors.load(name)


def test_the_real_network_is_found_by_name(shared_data, home):
    pytest.importorskip("openvino")
    files, place = shared_data("openvino_pose"), home / "openpose_omz"
    place.mkdir(parents=True)
    for file in presets.get("openpose_omz").files:  # as one who is offline would
        (place / file.name).write_bytes((files / file.name).read_bytes())
    network = models.LightweightOpenPose.from_preset("openpose_omz")
    expected = weights.load_openvino(
        models.LightweightOpenPose.from_variant("openpose_omz"), files / "human-pose-estimation-0001.xml"
    )
    assert same_weights(network, expected)
