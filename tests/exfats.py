"""exFAT volumes built slot by slot."""

import random
import struct
from dataclasses import dataclass, field

from tests.fats import Kept, Maker

FILE, PLACE, NAME, LABEL = 0x85, 0xC0, 0xC1, 0x83
END = 0xFFFFFFFF


@dataclass
class Volume:
    """An exFAT volume under construction, with clusters of 512 bytes; clusters are allocated in
    random order.
    """

    seed: int = 0
    count: int = 20_000
    page: str = "cp850"
    folders: list = field(default_factory=list)

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        self.table = [0] * (self.count + 2)
        self.data = bytearray(self.count * 512)
        bitmap, upcase = -(-self.count // 8), case_table()
        self.own = [bitmap, len(upcase)]
        self.pieces = iter(range(self.count // 2, self.count))  # for contiguous files
        self.free = list(range(2, self.count // 2))[::-1]
        self.bitmap, _ = self.store(bytes(bitmap))
        self.upcase, _ = self.store(upcase)
        self.upcase_sum = sum_of(upcase, 32, ())
        head = self.free[-3000:]
        self.chance.shuffle(head)
        self.free[-3000:] = head

    def store(self, data, *, chained=True):
        """Store bytes in clusters; return the first cluster, and whether a chain links the
        others.
        """
        if not data:
            return 0, False
        source = iter(self.free.pop, None) if chained else self.pieces
        taken = [next(source) for _ in range(-(-len(data) // 512))]
        if chained:
            for item, following in zip(taken, [*taken[1:], END], strict=True):
                self.table[item] = following
        for number, cluster in enumerate(taken):
            part = data[number * 512 : number * 512 + 512]
            at = (cluster - 2) * 512
            self.data[at : at + len(part)] = part
        return taken[0], chained

    def image(self, root):
        """The bytes of the volume with the slots of its root directory."""
        own = bytes([0x81]) + bytes(19) + struct.pack("<IQ", self.bitmap, self.own[0])
        own += bytes([0x82]) + bytes(3) + struct.pack("<I12xIQ", self.upcase_sum, self.upcase,
                                                      self.own[1])  # fmt: skip
        first, _ = self.store(own + root + bytes(32))
        self.table[0], self.table[1] = 0xFFFFFFF8, END
        length = -(-(self.count + 2) * 4 // 512)
        heap = 24 + length
        used = bytearray(-(-self.count // 8))
        for cluster in range(2, self.count + 2):
            if self.table[cluster] or cluster >= self.count // 2:
                used[(cluster - 2) // 8] |= 1 << (cluster - 2) % 8
        for low in range(0, len(used), 512):
            place = (self._nth(self.bitmap, low // 512) - 2) * 512
            self.data[place : place + len(used[low : low + 512])] = used[low : low + 512]
        boot = bytearray(12 * 512)
        boot[0:11] = b"\xeb\x76\x90EXFAT   "
        struct.pack_into("<QQ5IIHH5B", boot, 64, 0, heap + self.count, 24, length, heap,
                         self.count, first, 0x1234ABCD, 0x100, 0, 9, 0, 1, 0x80, 50)  # fmt: skip
        for sector in range(9):
            boot[sector * 512 + 510 : sector * 512 + 512] = b"\x55\xaa"
        total = sum_of(bytes(boot[: 11 * 512]), 32, (106, 107, 112))
        boot[11 * 512 :] = struct.pack("<I", total) * 128
        table = struct.pack(f"<{len(self.table)}I", *self.table).ljust(length * 512, b"\0")
        return bytes(boot) * 2 + table + bytes(self.data)

    def _nth(self, cluster, number):
        for _ in range(number):
            cluster = self.table[cluster]
        return cluster


def sum_of(data, bits, passed):
    """The exFAT checksum with `bits` bits over all bytes except those at `passed`."""
    found, most = 0, (1 << bits) - 1
    for at, byte in enumerate(data):
        if at not in passed:
            found = ((found << bits - 1 & most) | found >> 1) + byte & most
    return found


def case_table():
    """The upcase table: ASCII letters are mapped to capitals, other characters to themselves."""
    head = [ord(chr(one).upper()) for one in range(128)]
    return struct.pack("<128H", *head) + struct.pack("<HH", 0xFFFF, 65536 - 128)


def name_hash(name):
    raw = name.encode("utf-16-le", "surrogatepass")
    upper = b"".join(
        struct.pack("<H", one - 32 if 97 <= one <= 122 else one)
        for (one,) in struct.iter_unpack("<H", raw)
    )
    return sum_of(upper, 16, ())


def file_set(name, cluster, size, *, chained=True, folder=False, written=None, more=()):
    """The slots of a file; `more` are slots that are allowed after the name."""
    raw = name.encode("utf-16-le", "surrogatepass")
    length = len(raw) // 2
    parts = [raw[low : low + 30].ljust(30, b"\0") for low in range(0, len(raw), 30)]
    flags = 1 if chained else 3
    slots = [struct.pack("<BBHHHIIIBBBBB7x", FILE, 1 + len(parts) + len(more), 0,
                         0x10 if folder else 0x20, 0, 0x58216000, 0x58216000, 0x58216000,
                         0, 150, 0x84, 0x84, 0x84)]  # fmt: skip
    slots.append(struct.pack("<BBxBHHQ4xIQ", PLACE, flags if cluster else 1, length,
                             name_hash(name), 0, size if written is None else written, cluster,
                             size))  # fmt: skip
    slots += [bytes([NAME, 0]) + part for part in parts]
    return summed([*slots, *more])


def summed(slots):
    """The slots with their checksum in the first slot."""
    whole = b"".join(slots)
    total = struct.pack("<H", sum_of(whole, 16, (2, 3)))
    return whole[:2] + total + whole[4:]


class Files(Maker):
    """File names like those of the FAT tests, in exFAT entry sets."""

    def one(self, length=None):
        self.number += 1
        name = self.text(length or self.chance.randint(1, 255))
        data = b"file %d of seed %d" % (self.number, self.volume.seed)
        data *= self.chance.choice([0, 1, 1, 1, 90])
        cluster, chained = self.volume.store(data, chained=self.chance.random() < 0.5)
        return file_set(name, cluster, len(data), chained=chained), Kept(name, data, "file")


def generated(count, seed):
    """A volume with `count` directories in its root, and its bytes."""
    volume = Volume(seed)
    files, root = Files(volume), b""
    for number in range(count):
        slots, kept = [], []
        for length in [*[None] * volume.chance.randint(0, 20), number % 255 + 1]:
            made, item = files.one(length)
            while item.name.upper() in {other.name.upper() for other in kept}:
                made, item = files.one(length)  # a folder has each name once
            if volume.chance.random() < 0.1:  # deleted
                slots += [bytes([made[at] & 0x7F]) + made[at + 1 : at + 32]
                          for at in range(0, len(made), 32)]  # fmt: skip
            else:
                slots.append(made)
                kept.append(item)
        data = b"".join(slots)
        data = data.ljust(-(-len(data) // 512) * 512, b"\0")
        cluster, chained = volume.store(data, chained=volume.chance.random() < 0.5)
        root += file_set(f"d{number}", cluster, len(data), chained=chained, folder=True)
        volume.folders.append((f"d{number}", kept))
    return volume, volume.image(root)
