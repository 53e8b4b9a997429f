"""Writes the pictures of this folder: python3 make.py, with Pillow 12 or later."""

import io

from PIL import Image

COLOURS = [(230, 20, 30), (20, 200, 60), (40, 60, 220), (128, 128, 128)]


def stripes():
    """Four stripes of one colour each, 32x16 pixels."""
    picture = Image.new("RGB", (32, 16))
    for i, colour in enumerate(COLOURS):
        picture.paste(colour, (8 * i, 0, 8 * i + 8, 16))
    return picture


def jpeg(cmyk):
    out = io.BytesIO()
    cmyk.save(out, "JPEG", quality=95, subsampling=0)
    return bytearray(out.getvalue())


inks = stripes().convert("CMYK")
with open("cmyk.jpg", "wb") as file:
    file.write(jpeg(inks))

# Adobe's programs store inks inverted, as Pillow does with all four. In YCCK they then take the first three for
# colours to be inverted once more and store YCbCr of what that gives, the inks as they were; the last byte of the
# file's Adobe segment says so.
cyan, magenta, yellow, black = inks.split()
parts = list(Image.merge("RGB", [cyan, magenta, yellow]).convert("YCbCr").split())
parts.append(black.point(lambda v: 255 - v))
ycck = jpeg(Image.merge("CMYK", [part.point(lambda v: 255 - v) for part in parts]))
ycck[ycck.index(b"Adobe") + 11] = 2
with open("ycck.jpg", "wb") as file:
    file.write(ycck)
