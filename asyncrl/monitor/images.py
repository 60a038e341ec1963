"""Images for TensorBoard, each in an event file of its own."""

from __future__ import annotations

import io
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from asyncrl.monitor.events import new_file_name
from asyncrl.store.durable_files import write_file


def add_image(folder: Path, name: str, png: bytes, size: tuple[int, int], step: int) -> None:
    """Write an event file with one image into `folder`, which is made where it is missing. `size`: width and height in pixels."""
    width, height = size
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    records = io.BytesIO()
    writer = RecordWriter(records)
    now = time.time()
    for event in (
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)])),
    ):
        writer.write(event.SerializeToString())
    folder.mkdir(exist_ok=True)
    write_file(folder / new_file_name(), [records.getvalue()])
