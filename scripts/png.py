"""Enough PNG and lettering for the demo's contact sheet, from Python's standard library alone.

Pictures are (width, height, [rows]), a row being bytes of RGB. Reads what the program writes: 8-bit grey, palette,
RGB or RGBA, not interlaced.
"""
import struct
import zlib


def read(path):
    data = open(path, "rb").read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path}: not a PNG file")
    at, packed, palette = 8, b"", b""
    width = height = channels = kind = 0
    while at < len(data):
        size, tag = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        at += size + 12
        if tag == b"IHDR":
            width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if depth != 8 or interlaced:
                raise ValueError(f"{path}: want an 8-bit PNG, not interlaced")
            channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
        elif tag == b"PLTE":
            palette = body
        elif tag == b"IDAT":
            packed += body
    raw = zlib.decompress(packed)
    stride = width * channels
    rows, last = [], bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        row = bytearray(raw[start + 1:start + 1 + stride])
        _unfilter(raw[start], row, last, channels)
        rows.append(row)
        last = row
    return width, height, [_rgb(row, kind, palette) for row in rows]


def _unfilter(how, row, above, step):
    if how == 1:
        for i in range(step, len(row)):
            row[i] = (row[i] + row[i - step]) & 255
    elif how == 2:
        for i in range(len(row)):
            row[i] = (row[i] + above[i]) & 255
    elif how == 3:
        for i in range(len(row)):
            row[i] = (row[i] + ((row[i - step] if i >= step else 0) + above[i]) // 2) & 255
    elif how == 4:
        for i in range(len(row)):
            a, b, c = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            row[i] = (row[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255


def _rgb(row, kind, palette):
    if kind == 2:
        return bytes(row)
    if kind == 3:
        return b"".join(palette[3 * v:3 * v + 3] for v in row)
    step = {0: 1, 4: 2, 6: 4}[kind]
    if kind == 6:
        return b"".join(bytes(row[i:i + 3]) for i in range(0, len(row), 4))
    return b"".join(bytes((row[i],)) * 3 for i in range(0, len(row), step))


def write(path, width, height, rows):
    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    raw = b"".join(b"\0" + bytes(row) for row in rows)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


class Canvas:
    def __init__(self, width, height, color):
        self.width, self.height = width, height
        self.rows = [bytearray(bytes(color) * width) for _ in range(height)]

    def paste(self, picture, x, y, width, height):
        """Nearest neighbour to width × height at (x, y)."""
        w, h, rows = picture
        columns = [3 * (i * w // width) for i in range(width)]
        for j in range(height):
            source = rows[j * h // height]
            scaled = source if w == width else b"".join(source[c:c + 3] for c in columns)
            self.rows[y + j][3 * x:3 * (x + width)] = scaled

    def text(self, string, x, y, color, scale=2):
        """5×7 letters, lower case, top left at (x, y)."""
        for character in string.lower():
            for i, bits in enumerate(bytes.fromhex(_FONT.get(character, _FONT["?"]))):
                for j in range(8):
                    if bits >> j & 1:
                        for dy in range(scale):
                            left = 3 * (x + i * scale)
                            if 0 <= left and left + 3 * scale <= 3 * self.width:
                                self.rows[y + j * scale + dy][left:left + 3 * scale] = bytes(color) * scale
            x += 6 * scale

    def save(self, path):
        write(path, self.width, self.height, self.rows)


# Columns of each glyph, lowest bit on top.
_FONT = {
    " ": "0000000000", ".": "0060600000", "-": "0808080808", "_": "4040404040", ":": "0036360000", "/": "2010080402",
    "(": "001C224100", ")": "0041221C00", "%": "2313086462", ",": "0050300000", "+": "08083E0808", "=": "1414141414",
    "?": "0201510906", "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31", "4": "1814127F10",
    "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E", "a": "2054545478",
    "b": "7F48444438", "c": "3844444420", "d": "384444487F", "e": "3854545418", "f": "087E090102", "g": "18A4A4A47C",
    "h": "7F08040478", "i": "00447D4000", "j": "4080847D00", "k": "7F10284400", "l": "00417F4000", "m": "7C04180478",
    "n": "7C08040478", "o": "3844444438", "p": "FC24242418", "q": "18242424FC", "r": "7C08040408", "s": "4854545420",
    "t": "043F444020", "u": "3C4040207C", "v": "1C2040201C", "w": "3C4030403C", "x": "4428102844", "y": "1CA0A0A07C",
    "z": "4464544C44",
}
