"""FAT volumes built slot by slot from a seed, with all features that make names hard to decode.

Each file records the name to show, and the name shown by the Linux kernel and by mtools if it
differs; docs/design/filesystems.md says which name is used, and why.
"""

import os
import random
import struct
from dataclasses import dataclass, field

END = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}
DIRECTORY, LABEL, LONG = 0x10, 0x08, 0x0F


SAME = "the same"


@dataclass
class Kept:
    """A file: its name, its content, and its name in the kernel and in mtools (None: not shown)."""

    name: str
    data: bytes
    kind: str
    kernel: str | None = SAME
    mtools: str | None = SAME

    @property
    def by_kernel(self):
        return self.name if self.kernel == SAME else self.kernel

    @property
    def by_mtools(self):
        """mtools writes `_` for half of a UTF-16 pair, so a character of two units is `__`."""
        name = self.name if self.mtools == SAME else self.mtools
        if name is None:
            return None
        return "".join("__" if ord(one) > 0xFFFF else one for one in name)


@dataclass
class Folder:
    """A directory with its entries."""

    name: str
    kept: list[Kept]
    slots: int


@dataclass
class Volume:
    """A FAT volume under construction; `bits` 12, 16 or 32, clusters of `per_cluster` sectors."""

    bits: int
    per_cluster: int = 1
    page: str = "cp850"
    seed: int = 0
    folders: list[Folder] = field(default_factory=list)
    count: int = 0  # number of clusters

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        self.count = self.count or {12: 4000, 16: 20_000, 32: 66_000}[self.bits]
        self.table = [0] * (self.count + 2)
        self.data = bytearray(self.count * self.size)
        self.free = list(range(2, self.count + 2))
        # Clusters in an order that leaves no directory contiguous.
        head = self.free[:3000]
        self.chance.shuffle(head)
        self.free[:3000] = head
        self.free.reverse()

    @property
    def size(self):
        return self.per_cluster * 512

    def take(self, count):
        """Allocate a chain of `count` clusters; return the first cluster."""
        taken = [self.free.pop() for _ in range(count)]
        for one, following in zip(taken, [*taken[1:], END[self.bits]], strict=True):
            self.table[one] = following
        return taken

    def store(self, data, slack=b"\0"):
        """Store bytes in clusters of their own; return the first cluster, 0 for no bytes."""
        if not data:
            return 0
        taken = self.take(-(-len(data) // self.size))
        padded = data.ljust(len(taken) * self.size, slack)
        for number, cluster in enumerate(taken):
            at = (cluster - 2) * self.size
            self.data[at : at + self.size] = padded[number * self.size :][: self.size]
        return taken[0]

    def image(self, root):
        """The bytes of the volume with the slots of its root directory."""
        reserved, entries = (32, 0) if self.bits == 32 else (1, 512)
        length = -(-(self.count + 2) * self.bits // 8 // 512) + 1
        start, total = 0, reserved + 2 * length + entries // 16 + self.count * self.per_cluster
        if self.bits == 32:
            start = self.store(root)
        boot = bytearray(reserved * 512)
        small = total if total < 65536 and self.bits != 32 else 0
        short = 0 if self.bits == 32 else length
        boot[0:11] = b"\xeb\x58\x90HAULBACK"
        struct.pack_into("<HBHBHHBH", boot, 11, 512, self.per_cluster, reserved, 2, entries,
                         small, 0xF8, short)  # fmt: skip
        struct.pack_into("<HHII", boot, 24, 32, 64, 0, 0 if small else total)
        extended = 36
        if self.bits == 32:
            struct.pack_into("<IHHIHH", boot, 36, length, 0, 0, start, 1, 6)
            boot[512:516], boot[996:1000] = b"RRaA", b"rrAa"
            struct.pack_into("<II", boot, 1000, 0xFFFFFFFF, 0xFFFFFFFF)
            boot[1022:1024] = b"\x55\xaa"
            extended = 64
        boot[extended : extended + 3] = b"\x80\0\x29"
        boot[extended + 7 : extended + 26] = b"NO NAME    FAT%d   " % self.bits
        boot[510:512] = b"\x55\xaa"
        table = self.packed().ljust(length * 512, b"\0")
        fixed = b"" if self.bits == 32 else root.ljust(entries * 32, b"\0")
        return bytes(boot) + table * 2 + fixed + bytes(self.data)

    def packed(self):
        self.table[0], self.table[1] = END[self.bits] & ~7 | 0, END[self.bits]
        if self.bits != 12:
            return struct.pack(f"<{len(self.table)}{'H' if self.bits == 16 else 'I'}", *self.table)
        found = bytearray()
        for low, high in zip(self.table[::2], [*self.table[1::2], 0], strict=False):
            found += (low | high << 12).to_bytes(3, "little")
        return bytes(found)


def checksum(short):
    found = 0
    for byte in short:
        found = ((found >> 1) | (found << 7 & 0x80)) + byte & 0xFF
    return found


def long_slots(name, short, *, number=None, sum_=None):
    """The slots of a long name, in their order on the disk; `name` in UTF-16."""
    units = name if isinstance(name, bytes) else name.encode("utf-16-le", "surrogatepass")
    if len(units) % 26:
        units += b"\0\0"
        units += b"\xff" * (-len(units) % 26)
    count = len(units) // 26
    result = []
    for part in range(count, 0, -1):
        raw = units[(part - 1) * 26 : part * 26]
        first = part | (0x40 if part == count else 0)
        total = checksum(short) if sum_ is None else sum_
        result.append(bytes([first]) + raw[:10] + bytes([LONG, 0, total]) + raw[10:22]
                     + b"\0\0" + raw[22:])  # fmt: skip
    return result


def short_slot(short, attributes=0x20, *, flags=0, cluster=0, size=0):
    head = short + bytes([attributes, flags]) + bytes(7)
    return head + struct.pack("<HHHHI", cluster >> 16, 0x6000, 0x5821, cluster & 0xFFFF, size)


ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 +,;=[]()~-_",
    "äöüßéèçñåøæÄÖÜÉÑŁžščŽőű",
    "日本語中文漢字한국어กขคעבריתعربي",
    "\u0301\u0308\u030a\u0323\u200d\u202eAe\u1112",
    "😀🎉🌍🏴𠮷",
)


# Letters of short names.  "\u0425" and "\u0445" look like X, and in code page 866 the small letter
# is the byte that marks a slot as free.
LETTERS = {
    "cp850": "AZÅÄÖÉÈÑßÕ",
    "cp437": "AZÅÄÖÉÑßΣΩ",
    "cp866": "AЖЯ\u0425\u0445Ё",
    "cp932": "Aｱﾝ日本ソ",
}


def units_of(text):
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Maker:
    """A generator of the slots of one directory."""

    def __init__(self, volume):
        self.volume, self.chance, self.number = volume, volume.chance, 0
        self.names = set()  # of long names in capitals: a directory has each name once

    def text(self, length):
        """A name of `length` UTF-16 units that begins and ends with neither space nor dot."""
        letters = self.chance.choice(ALPHABETS) + self.chance.choice(ALPHABETS)
        name = f"{self.number:x}"[:length]
        while units_of(name) < length:
            name += self.chance.choice(letters)
        while units_of(name) > length:
            name = name[:-1]
        return name.rstrip(" .").ljust(1, "x") + "z" * (length - units_of(name.rstrip(" .")))

    def alias(self, lead=b"L"):
        """A short name that is unique on this volume."""
        self.number += 1
        return lead + b"%07X   " % self.number

    def file(self, short, attributes=0x20, **more):
        """A slot of a file, with content that identifies it."""
        data = b"" if self.chance.random() < 0.05 else b"file %d of seed %d" % (
            self.number, self.volume.seed)  # fmt: skip
        if self.chance.random() < 0.1:
            data *= self.chance.randint(1, 200)
        cluster = self.volume.store(data)
        return short_slot(short, attributes, cluster=cluster, size=len(data), **more), data

    def long(self, length=None):
        short = self.alias()
        name = self.text(length or self.chance.randint(1, 255))
        while name.upper() in self.names:
            name = self.text(self.chance.randint(9, 255))
        self.names.add(name.upper())
        slot, data = self.file(short)
        return [*long_slots(name, short), slot], [Kept(name, data, "long")]

    def short(self):
        """A name in the code page, with its lower-case flags."""
        page = self.volume.page
        self.number += 1
        # A leading high byte distinguishes these names from names in ASCII capitals.
        base = f"{self.number:06d}"
        base = self.letter() + base + self.letter()
        base = base.encode(page)[:8].decode(page, "ignore").encode(page)
        extension = b"".join(self.letter().encode(page) for _ in range(3))[
            : self.chance.randint(0, 3)
        ]
        extension = extension.decode(page, "ignore").encode(page)
        flags = self.chance.choice([0, 0, 8, 16, 24])
        raw = base.ljust(8) + extension.ljust(3)
        name = self.shown(base, flags & 8)
        if extension:
            name += "." + self.shown(extension, flags & 16)
        stored = b"\x05" + raw[1:] if raw[:1] == b"\xe5" else raw
        slot, data = self.file(stored, flags=flags)
        return [slot], [Kept(name, data, "short", mtools=self.by_mtools(base, extension, flags))]

    def by_mtools(self, base, extension, flags):
        """mtools maps only the small letters of ASCII."""
        base, extension = (one.decode(self.volume.page) for one in (base, extension))
        base = "".join(one.lower() if one.isascii() else one for one in base) if flags & 8 else base
        if flags & 16:
            extension = "".join(one.lower() if one.isascii() else one for one in extension)
        return f"{base}.{extension}" if extension else base

    def letter(self):
        return self.chance.choice(LETTERS[self.volume.page])

    def shown(self, raw, lower):
        text = raw.decode(self.volume.page)
        if not lower:
            return text
        return "".join(self.lowered(one) for one in text)

    def lowered(self, one):
        try:
            return one.lower() if len(one.lower().encode(self.volume.page)) == 1 else one
        except UnicodeEncodeError:
            return one

    def deleted(self):
        slots, _ = self.long()
        return [b"\xe5" + slot[1:] for slot in slots], []

    def half_deleted(self):
        """A file whose short name was deleted and rewritten by a system without long names."""
        slots, _ = self.long()
        short = self.alias(b"S")
        slot, data = self.file(short)
        shown = Kept(short.decode().rstrip(), data, "half deleted")
        return [*slots[:-1], slot], [shown]

    def orphan_at_the_end(self):
        slots, _ = self.long()
        return slots[:-1], []

    def wrong_checksum(self):
        short = self.alias(b"W")
        slot, data = self.file(short)
        slots = long_slots(self.text(30), short, sum_=checksum(short) ^ self.chance.randint(1, 255))
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "wrong checksum")]

    def one_wrong_checksum(self):
        short = self.alias(b"W")
        slot, data = self.file(short)
        slots = long_slots(self.text(60), short)
        at = self.chance.randrange(len(slots))
        wrong = slots[at][13] ^ 1
        slots[at] = slots[at][:13] + bytes([wrong]) + slots[at][14:]
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "one wrong checksum")]

    def gap(self):
        short = self.alias(b"G")
        slot, data = self.file(short)
        slots = long_slots(self.text(60), short)
        del slots[self.chance.randrange(len(slots))]
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "gap")]

    def swapped(self):
        short = self.alias(b"G")
        slot, data = self.file(short)
        name = self.text(60)
        slots = long_slots(name, short)
        one = self.chance.randrange(len(slots) - 1)
        slots[one], slots[one + 1] = slots[one + 1], slots[one]
        # mtools accepts the parts of a name in any order.
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "swapped", mtools=name)]

    def too_many_slots(self):
        short = self.alias(b"T")
        slot, data = self.file(short)
        slots = long_slots("t" * 280, short)
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "too many slots")]

    def begun_anew(self):
        """A file whose slots of one name are followed by all slots of another name."""
        first, _ = self.long()
        slots, shown = self.long()
        return [*first[: self.chance.randint(1, len(first) - 1)], *slots], shown

    def deleted_between(self):
        short = self.alias(b"D")
        slot, data = self.file(short)
        slots = long_slots(self.text(40), short)
        hole = b"\xe5" + short_slot(self.alias())[1:]
        slots.insert(self.chance.randint(1, len(slots)), hole)
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "deleted between")]

    def label_between(self):
        short = self.alias(b"V")
        slot, data = self.file(short)
        slots = long_slots(self.text(20), short)
        label = short_slot(b"A LABEL    ", LABEL)
        return [*slots, label, slot], [Kept(short.decode().rstrip(), data, "label between")]

    def label(self):
        return [short_slot(b"VOLUME NAME", LABEL)], []

    def twice(self):
        """Two files with the same name; a look-up returns the first file."""
        name, made, kept = self.text(20), [], []
        for more in ("", "~2", "~3")[: self.chance.randint(2, 3)]:
            short = self.alias(b"D")
            slot, data = self.file(short)
            made += [*long_slots(name, short), slot]
            kept.append(Kept(name + more, data, "twice", kernel=name, mtools=name))
        return made, kept

    def twice_short(self):
        short, made, kept = self.alias(b"D"), [], []
        name = short.decode().rstrip()
        for more in ("", "~2"):
            slot, data = self.file(short)
            self.number += 1
            made.append(slot)
            kept.append(Kept(name + more, data, "twice", kernel=name, mtools=name))
        return made, kept

    def half_a_pair(self):
        """A lone UTF-16 surrogate is kept, as bytes that are not valid UTF-8."""
        short = self.alias(b"H")
        slot, data = self.file(short)
        text = self.text(9)
        half = self.chance.choice("\ud800\udc00\udbff")
        name = os.fsdecode((text + half + "z").encode(errors="surrogatepass"))
        shown = Kept(name, data, "half a pair", kernel=text + "z", mtools=text + "_z")
        return [*long_slots(text + half + "z", short), slot], [shown]

    def eighth_bit(self):
        """mtools ignores the highest bit of a slot's number."""
        short, text = self.alias(b"B"), self.text(25)
        slot, data = self.file(short)
        slots = [bytes([one[0] | 0x80]) + one[1:] for one in long_slots(text, short)]
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "eighth bit", mtools=text)]

    def other_attributes(self):
        short = self.alias(b"A")
        slot, data = self.file(short)
        slots = [one[:11] + b"\xcf" + one[12:] for one in long_slots(self.text(25), short)]
        return [*slots, slot], [Kept(short.decode().rstrip(), data, "other attributes")]

    def nul_in_a_short_name(self):
        self.number += 1
        short = b"N%06X\0EXT" % self.number
        slot, data = self.file(short)
        name = short[:7].decode()
        shown = Kept(f"{name}\\x00.EXT", data, "NUL", f"{name}.EXT", f"{name}.EXT")
        return [slot], [shown]

    def behind_the_end(self):
        """The kernel reads slots after an end mark; by the specification the directory ends
        there.
        """
        short = self.alias(b"X")
        slot, data = self.file(short)
        shown = Kept(None, data, "behind the end", short.decode().rstrip(), None)
        return [bytes(32), slot], [shown]

    def of_full_slots(self):
        """A name whose length leaves no room for an end mark."""
        return self.long(13 * self.chance.randint(1, 19))


ORDINARY = ("long", "long", "long", "short", "short", "deleted", "label", "of_full_slots")
BROKEN = (
    "half_deleted", "orphan_at_the_end", "wrong_checksum", "one_wrong_checksum", "gap", "swapped",
    "too_many_slots", "begun_anew", "deleted_between", "label_between", "twice", "twice_short",
    "half_a_pair", "eighth_bit", "other_attributes", "nul_in_a_short_name",
)  # fmt: skip


def generated(bits, count, seed, page="cp850", per_cluster=1):
    """A volume with `count` directories in its root, and its bytes."""
    volume = Volume(bits, per_cluster, page, seed)
    maker, root = Maker(volume), []
    for number in range(count):
        root.append(_folder(volume, maker, number))
    return volume, volume.image(b"".join(root))


def _folder(volume, maker, number):
    chance, maker.names = volume.chance, set()
    short = b"D%07d   " % number
    shown, slots = (
        [],
        [short_slot(b".          ", DIRECTORY), short_slot(b"..         ", DIRECTORY)],
    )
    ways = ORDINARY if number % 3 == 0 else ORDINARY + BROKEN
    for way in [*(chance.choice(ways) for _ in range(chance.randint(1, 25)))]:
        made, kept = getattr(maker, way)()
        slots += made
        shown += kept
    # Each length of a name occurs once in 255 directories.
    made, kept = maker.long(number % 255 + 1)
    slots, shown = slots + made, shown + kept
    if number % 7 == 6:
        made, kept = maker.behind_the_end()
        slots, shown = slots + made, shown + kept
    cluster = volume.store(b"".join(slots))
    volume.folders.append(Folder(short.decode().rstrip(), shown, len(slots)))
    return short_slot(short, DIRECTORY, cluster=cluster)
