"""Event files read back, by the format of TFRecord and TensorBoard's messages."""

import struct

from tensorboardX.proto.event_pb2 import Event

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data):
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(path):
    """The events of a file, whose lengths and checksums are right to its end."""
    content, events = path.read_bytes(), []
    while content:
        length, of_length = struct.unpack("<QI", content[:12])
        data, (of_data,) = (
            content[12 : 12 + length],
            struct.unpack("<I", content[12 + length :][:4]),
        )
        assert of_length == _masked(content[:8])
        # The bits of a large picture are too many for this loop.
        assert length > 10_000 or of_data == _masked(data)
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events


class Read:
    """What TensorBoard shows of a folder: numbers, pictures and texts by tag and step.

    What comes after the start of a session at a step replaces what there was from that step on.
    """

    def __init__(self, folder):
        self.scalars, self.pictures, self.texts, self.tags = {}, {}, {}, set()
        for path in sorted(folder.glob("events.out.tfevents.*")):
            first, *events = events_of(path)
            assert first.file_version == "brain.Event:2"
            for event in events:
                if event.HasField("session_log"):
                    self._purge(event.step)
                for value in event.summary.value:
                    self._add(event.step, value)

    def _add(self, step, value):
        self.tags.add(value.tag)
        if value.HasField("image"):
            place, content = self.pictures, value.image
        elif value.HasField("tensor"):
            place, content = self.texts, value.tensor.string_val[0].decode()
        elif value.HasField("simple_value"):
            place, content = self.scalars, value.simple_value
        else:
            return
        place.setdefault(value.tag, []).append((step, content))

    def _purge(self, step):
        for place in (self.scalars, self.pictures, self.texts):
            for tag, points in place.items():
                place[tag] = [point for point in points if point[0] < step]
