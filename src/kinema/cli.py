"""The verbs: ``kinema <verb>``. Everything heavy is imported by the verb that needs it, so that help comes at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction

from .front import DATA_VERBS, PARAMETERS, VERBS, data_app, main, parse, verb

__all__ = ["DATA_VERBS", "PARAMETERS", "VERBS", "main", "parse"]

Device = Literal["auto", "cpu", "cuda", "mps"]
Units = Literal["m", "cm", "mm", "in", "ft", "px", "none"]
Axis = Literal["x", "y", "z", "-x", "-y", "-z"]


@verb("list", data_app)
def data_list() -> None:
    """Print the data sets that Kinema knows, their splits and where their owners give them."""
    from .verbs import data as data_verb

    data_verb.list_datasets()


@verb("build", data_app)
def data_build(
    source: Positional[Path],
    out: Path | None = None,
    dataset: str | None = None,
    format: str | None = None,
    index: Path | None = None,
    skeleton: Path | None = None,
    workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    units: Units | None = None,
    up: Axis | None = None,
    left_handed: bool = False,
) -> None:
    """Read motion files into a store, which training opens without reading.

    Args:
        source: folder, zip or single file.
        out: the store to make, a folder; default: stores/ and the name of the data set or of the source.
        dataset: name from `kinema data list`; gives format, classes and splits.
        format: format of the files, if it is no known data set; default: guessed.
        index: your own data: a CSV with the columns file and label (and subject, view, split, fps, start, end, caption if you have them).
        skeleton: your own data: a JSON with joints and parents, or the name of a known skeleton; of other formats the skeleton to which all
            clips are converted, by the names of joints.
        workers: processes, at most and by default one a core.
        strict: stop at the first bad file or clip instead of skipping it.
        overwrite: replace the store that is there.
        units: what the numbers of your own data are in; none: no unit of length, as divided by the size of the person. Lengths become
            meters. Poses of the image (.pose and the like) are px or none, which is otherwise guessed.
        up: the axis of your own data that points up; it is turned to y (of 2-D to -y, as in an image).
        left_handed: the axes of your own data are left-handed, as in Unity and Unreal.
    """
    from .verbs import data as data_verb

    data_verb.build_store(source, out, dataset, format, index, skeleton, workers, strict, overwrite, units, up, left_handed)


@verb("stage", data_app)
def data_stage(name: Positional[str], out: Path, clips: int | None = None, overwrite: bool = False) -> None:
    """Write a world of synthetic people, which are made from a seed, as a store.

    Args:
        name: stage-1, whole bodies that act, or signs-1, people who sign.
        out: the store to make, a folder.
        clips: only so many, the first ones; default: all.
        overwrite: replace the store that is there.
    """
    from .verbs import data as data_verb

    data_verb.stage_store(name, out, clips, overwrite)


@verb("check", data_app)
def data_check(store: Positional[Path], strict: bool = False) -> None:
    """Verify a store: checksum, clips, classes and the sizes of its splits; warn of units and axes that seem wrong.

    Args:
        store: the folder that `kinema data build` made.
        strict: a split whose size is not the published one, and a doubtful split of your own, is an error.
    """
    from .verbs import data as data_verb

    data_verb.check_store(store, strict)


@verb("show")
def show(
    file: Positional[Path],
    clip: int = 0,
    out: Path | None = None,
    skeleton: Path | None = None,
) -> None:
    """Print what is inside a motion file or a store, and draw it.

    Args:
        file: a motion file of any known format, a zip or folder of them, or a store.
        clip: which clip to draw, from 0.
        out: draw to this .png, .gif or .mp4; default: a .png beside where you are, named after the file.
        skeleton: joints of a bare array, as JSON file or known name.
    """
    from .verbs import show as show_verb

    show_verb.show(file, clip, out, skeleton)


@verb("pose")
def pose(
    video: Positional[Path],
    out: Path | None = None,
    overlay: Path | None = None,
    fps: float | None = None,
) -> None:
    """Find the person in every frame of a video, body and hands, and write a .pose file.

    Needs MediaPipe, which is not installed by default: docs/pose.md.

    Args:
        video: MP4, MOV, MKV, WebM, AVI, ...
        out: the .pose to make; default: beside where you are, named after the video.
        overlay: also draw what was found over the video, to check it by eye: an .mp4, or a .png with 8 frames.
        fps: poses a second; default: one for each frame, or the average rate where frames are unevenly spaced.
    """
    from .verbs import pose as pose_verb

    pose_verb.pose(video, out, overlay, fps)


@verb("train")
def train(
    method: Positional[str],
    data: Path,
    out: Path,
    preset: str = "small",
    split: str | None = None,
    seed: int = 0,
    epochs: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: Literal["auto", "32", "bf16"] | None = None,
    compile: bool = False,
    init: Path | None = None,
    accelerator: Device = "auto",
    devices: int = 1,
    max_steps: int | None = None,
    checkpoint_minutes: float | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    set: Annotated[tuple[str, ...], UseAppendAction] = (),
) -> None:
    """Pre-train an encoder on a store.

    Args:
        method: which paper: mamp, cmd, i2md or masa.
        data: the store.
        out: the run folder to make.
        preset: small; of mamp also fast, paper-ntu60, paper-ntu120, paper-pku; of cmd and i2md also paper-ntu, paper-pku; of these three
            also signs, for poses with hands; of masa also code, paper.
        split: train on the training clips of this split only; default: on all clips.
        seed: of every random draw.
        epochs: instead of the preset's, and of its most steps.
        batch_size: instead of the preset's.
        lr: learning rate instead of the preset's.
        precision: instead of the preset's: 32, bf16, or auto, which is bf16 where this machine gains by it.
        compile: use torch.compile.
        init: begin from the weights of this run (or .safetensors file) of the same network, not from random ones, and from averaged ones
            where it has some; with model.frozen, only what is frozen.
        accelerator: where to run.
        devices: processes, at most as many as there are GPUs or, on a CPU, cores; torchrun and Slurm set their own.
        max_steps: stop after so many steps, as an interruption would.
        checkpoint_minutes: write a checkpoint this often, besides each epoch.
        resume: go on in a run folder.
        tensorboard: write event files too.
        set: any other value of the recipe, as path=value, for instance --set model.tau=0.75; may be repeated.
    """
    from .verbs import train as train_verb

    changes = {"epochs": epochs, "batch_size": batch_size, "optimiser.lr": lr, "precision": precision, "compile": compile or None}
    train_verb.train(
        method, preset, data, out, split, seed, {k: v for k, v in changes.items() if v is not None}, set, init, accelerator, devices,
        max_steps, checkpoint_minutes, resume, tensorboard,
    )  # fmt: skip


@verb("finetune")
def finetune(
    run: Positional[Path],
    data: Path,
    out: Path,
    split: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    frozen: bool = False,
    scratch: bool = False,
    set: Annotated[tuple[str, ...], UseAppendAction] = (),
    weights: Literal["average", "last"] = "average",
    accelerator: Device = "auto",
) -> None:
    """Train a classifier on a pre-trained encoder and keep it, for `kinema recognize`. Run again, it goes on where it stopped.

    Args:
        run: the run folder of the encoder.
        data: a store with labels.
        out: the run folder to make.
        split: train on its training clips and score its test clips, by clip and by class, at one and at five guesses; default: train on
            all clips.
        seed: of every random draw; default: the run's.
        epochs: instead of the recipe's.
        frozen: leave the encoder as it is and train the head alone.
        scratch: begin from random weights.
        set: a value of the recipe's supervision, for instance --set supervision.optimiser.lr=0.001; may be repeated.
        weights: of a run that was trained with an ema: its averaged ones, or those of its last step.
        accelerator: where to run.
    """
    from .verbs import finetune as finetune_verb

    finetune_verb.finetune(run, data, out, split, seed, epochs, frozen, scratch, set, weights, accelerator)


@verb("evaluate")
def evaluate(
    runs: Positional[tuple[Path, ...]],
    data: Path,
    split: str,
    out: Path | None = None,
    protocols: tuple[str, ...] = ("linear", "knn", "random-linear", "random-knn", "raw-linear", "raw-knn"),
    part: Literal["test", "validation"] = "test",
    fuse: tuple[Path, ...] = (),
    epochs: int | None = None,
    weights: Literal["average", "last"] = "average",
    accelerator: Device = "auto",
) -> None:
    """Measure trained encoders by the field's protocols; write metrics.json and report.html.

    Args:
        runs: run folders of one recipe with different seeds.
        data: the store to measure on (another one than the runs were trained on: transfer).
        split: its split.
        out: where to write; default: in the first run, the folder "evaluation", or "validation" for that part.
        protocols: linear, knn, random-linear, random-knn, raw-linear, raw-knn, linear-published, knn-published, finetune, scratch,
            semi-1, semi-5, semi-10, semi-20, scratch-1, scratch-5, scratch-10, scratch-20; of methods with streams also linear-motion,
            linear-bone, linear-3s, knn-motion, knn-bone, knn-3s, random-linear-3s, random-knn-3s.
        part: which clips are scored. validation trains on the rest of the training clips and leaves the test clips untouched: to choose
            between recipes.
        fuse: runs of another method, one for each run, in the same order and with the same seeds: adds linear-fused.
        epochs: of every trained classifier, instead of the recipe's.
        weights: of a run that was trained with an ema: its averaged ones, or those of its last step.
        accelerator: where to run.
    """
    from .verbs import evaluate as evaluate_verb

    evaluate_verb.evaluate(runs, data, split, out, protocols, part, fuse, epochs, weights, accelerator)


@verb("embed")
def embed(
    run: Positional[Path],
    source: Positional[Path],
    out: Path,
    data: Path | None = None,
    skeleton: Path | None = None,
    weights: Literal["average", "last"] = "average",
    accelerator: Device = "auto",
) -> None:
    """Write features of motion files, or of a store, to an .npz: features (N, D), names, labels, label_names, classes.

    Labels are numbers of the classes that are listed beside them, -1 where a clip has none of these.

    Args:
        run: a run folder.
        source: a store, or a motion file, folder or zip of any known format.
        out: the .npz to make.
        data: number the labels by the classes of this store; default: those of the source, if it is a store, or else of the data that
            the run was trained on.
        skeleton: joints of bare arrays, as JSON file or known name; default: those of the run.
        weights: of a run that was trained with an ema: its averaged ones, or those of its last step.
        accelerator: where to run.
    """
    from .verbs import embed as embed_verb

    embed_verb.embed(run, source, out, data, skeleton, weights, accelerator)


@verb("retrieve")
def retrieve(
    file: Positional[Path],
    data: Path,
    run: Path,
    clip: int = 0,
    top: int = 5,
    stream: str | None = None,
    out: Path = Path("retrieved.png"),
    json: bool = False,
    weights: Literal["average", "last"] = "average",
    accelerator: Device = "auto",
) -> None:
    """Find the motions of a store that are most like a given one, by a trained encoder; print them and draw them.

    The first question computes the features of the store and keeps them in the folder "retrieval" of the run; further ones are
    answered at once, until the run is trained on or the store is another. A query that is itself in the store is left out.

    Args:
        file: the motion: any file, zip, folder or store that `kinema show` reads; a bare array has the joints of the run.
        data: the store to search.
        run: a run folder.
        clip: which clip of the file is meant, from 0.
        top: how many motions to give.
        stream: of a run that has several: joint, motion, bone, or all (their mean); default: all that it has.
        out: draw to this .png, or to an .html in which they move.
        json: print JSON instead of a table.
        weights: of a run that was trained with an ema: its averaged ones, or those of its last step.
        accelerator: where to run.
    """
    from .verbs import retrieve as retrieve_verb

    retrieve_verb.retrieve(file, data, run, clip, top, stream, out, json, weights, accelerator)


@verb("recognize")
def recognize(
    file: Positional[Path | None] = None,
    *,
    run: Path,
    clip: int = 0,
    top: int = 5,
    window: float | None = None,
    hop: float | None = None,
    person: int | None = None,
    image_size: str | None = None,
    out: Path | None = None,
    json: bool = False,
    live: bool = False,
    accelerator: Device = "auto",
) -> None:
    """Name the action or sign in a motion file or a video, by a trained classifier; of a long one, what is when.

    A video needs MediaPipe, which is not installed by default: docs/pose.md.

    Args:
        file: any motion file, zip, folder or store that `kinema show` reads, or a video; a bare array has the joints of the run.
        run: the run folder of a classifier, made by `kinema finetune`.
        clip: which clip of the file is meant, from 0.
        top: how many classes to give.
        window: seconds that are looked at at once; default: all, or of a long file as much as the classifier was trained on.
        hop: seconds from one window to the next; default: a quarter of the window, and live 1/8 s.
        person: look at this person of the file alone, from 0.
        image_size: width x height of the image in pixels, such as 640x480, where a run for signs needs it and the file does not say.
        out: draw the classes over time to this .png; default: beside where you are, named after the file, if it is long.
        json: print JSON alone, and draw only with --out.
        live: read poses from standard input, one JSON object a line, and print a line of JSON for each answer: docs/recognize.md.
        accelerator: where to run.
    """
    from .verbs import recognize as recognize_verb

    recognize_verb.recognize(file, run, clip, top, window, hop, person, image_size, out, json, live, accelerator)


@verb("import-weights")
def import_weights(method: Positional[str], file: Positional[Path], preset: str, out: Path, skeleton: str | None = None) -> None:
    """Turn the authors' checkpoint into a run folder that every command accepts.

    Args:
        method: which paper: mamp, cmd or masa.
        file: their .pth file. It is read without running code.
        preset: the published configuration it was trained with, for instance paper-ntu60.
        out: the run folder to make.
        skeleton: of its data; default: ntu25, of masa sign49.
    """
    from .verbs import train as train_verb

    train_verb.import_weights(method, file, preset, out, skeleton)


@verb("demo")
def demo(out: Path = Path("runs/demo")) -> None:
    """See the whole of it in minutes: synthetic people, pre-training, protocols, a report.

    Args:
        out: where to write report.html and metrics.json.
    """
    from .verbs import evaluate as evaluate_verb

    evaluate_verb.demo(out)


@verb("papers")
def papers() -> None:
    """Print the nine papers and what works today."""
    from .verbs import about

    about.papers()


@verb("doctor")
def doctor() -> None:
    """Print versions, devices and what this machine can do; exit 2 if something that Kinema needs is missing."""
    from .verbs import about

    about.doctor()


if __name__ == "__main__":
    sys.exit(main())
