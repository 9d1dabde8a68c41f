"""The preparation of one image as code, bit-identical to `cnnctl.data.images`."""

from __future__ import annotations

from cnnctl.script.expressions import literal
from cnnctl.script.template import Needs
from cnnctl.spec.dataset import DataSpec

WHITEN = '''
def whiten(values, white):
    """Scale pixels so that `white` becomes 255, as uint8."""
    values = values.astype(float).clip(0, white)  #? !not_finite
    values = np.nan_to_num(values.astype(float)).clip(0, white)  #? not_finite
    return np.floor(values * 255 / white).astype(np.uint8)
'''

BRIGHTEN = '''
def brighten(image, white):
    """Scale the 8 bits of an image so that `white` becomes 255; alpha is unchanged."""
    if "transparency" in image.info:  # refers to a pixel value, which would change
        image = image.convert("RGBA")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    same = np.arange(256)
    curves = [same if band == "A" else whiten(same, white) for band in image.getbands()]
    return image.point(np.concatenate(curves).tolist())
'''

CROP = '''
def crop(image):
    """Resize the center of an image, as large as the aspect ratio of $width to $height allows."""
    scale = min(image.width / $width, image.height / $height)
    across, down = $width * scale, $height * scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, left + across, top + down)
    return image.resize(($width, $height), Image.Resampling.BILINEAR, box=box)
'''

PAD = '''
def pad(image):
    """Resize a whole image and keep its aspect ratio; the padding is the median of its border."""
    scale = max(image.width / $width, image.height / $height)
    width, height = max(round(image.width / scale), 1), max(round(image.height / scale), 1)
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    page = Image.new(image.mode, ($width, $height), int(np.median(border)))  #? grey
    colour = np.median(border, axis=0).astype(int)  #? !grey
    page = Image.new(image.mode, ($width, $height), tuple(colour.tolist()))  #? !grey
    inner = image.resize((width, height), Image.Resampling.BILINEAR)
    page.paste(inner, (($width - width) // 2, ($height - height) // 2))
    return page
'''

_FITTED = """
    image = image.convert($mode)  #? converted
    image = image.transpose(Image.Transpose.TRANSPOSE)  #? transpose
    image = image.resize(($width, $height), Image.Resampling.BILINEAR)  #? stretch
    image = crop(image)  #? crop
    image = pad(image)  #? pad
    image = np.asarray(image)
    image = image[..., np.newaxis]  #? grey
    return image  #? !invert
    return 255 - image  #? invert
"""

FIT = f'''
def fit(image):
    """Return an image of any size as uint8 $one."""
    image = whiten(image, $white)  #? white
    image = image.astype(np.uint8)  #? any_mode !white
    image = Image.fromarray(image.squeeze(-1))  #? own_grey
    image = Image.fromarray(image)  #? own_colour
    image = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)  #? any_mode
    if "A" in image.getbands():  # transparent parts become white  #? any_mode
        image = image.convert("RGBA")  #? any_mode
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)  #? any_mode
{_FITTED.strip(chr(10))}
'''

READ_IMAGE = f'''
def read_image(file):
    """Read an image of any size and mode as uint8 $one."""
    with Image.open(file) as opened:
        deep_colour = opened.mode in ("RGB", "RGBA", "LA") and ";16" in str(opened.tile)  #? white
        image = ImageOps.exif_transpose(opened)  # as a camera held it
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):  # 16 bits per pixel  #? !white
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))  #? !white
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N", "F"):  # more than 8 bits per pixel  #? white
        image = Image.fromarray(whiten(np.asarray(image), $white))  #? white
    else:  # Pillow reads the upper 8 bits of 16-bit colors  #? white
        image = brighten(image, $white * 255 / 65535 if deep_colour else $white)  #? white
    if "A" in image.getbands() or "transparency" in image.info:  # transparent parts become white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
{_FITTED.strip(chr(10))}
'''


def image_needs(data: DataSpec) -> Needs:
    """Return the template flags for the preparation of an image."""
    return {
        **{way: data.fit == way for way in ("stretch", "crop", "pad")},
        "grey": data.channels == 1,
        "transpose": data.transpose,
        "invert": data.invert,
        "white": data.pixel_max is not None,
    }


def image_values(data: DataSpec) -> dict[str, object]:
    """Return the values for the templates that read images."""
    assert data.image_size and data.channels
    (height, width), white = data.image_size, data.pixel_max
    one = literal((height, width, data.channels))
    return {
        "shape": f"(N, {one[1:]}",
        "one": one,
        "height": height,
        "width": width,
        "mode": literal("L" if data.channels == 1 else "RGB"),
        "white": literal(int(white) if white is not None and white.is_integer() else white),
    }


def helpers(needs: Needs) -> list[str]:
    """Return the templates of the functions that prepare an image from an array or a file."""
    of_pillow = needs["fitted"] or needs["image_files"]
    return [
        *([WHITEN] if needs["white"] else []),
        *([BRIGHTEN] if needs["white"] and needs["image_files"] else []),
        *([CROP] if needs["crop"] and of_pillow else []),
        *([PAD] if needs["pad"] and of_pillow else []),
        *([FIT] if needs["fitted"] else []),
        *([READ_IMAGE] if needs["image_files"] else []),
    ]


def arranged(images: str, needs: Needs, white: object) -> str:
    """Generate the expression that prepares an array of images with the right size and channels.

    Args:
        images: the code of a uint8 array (N, H, W, C), or of any array with `white`.
        needs: the template flags.
        white: the value that becomes 255, as code.
    """
    images = f"whiten({images}, {white})" if needs["white"] else images
    images = f"{images}.swapaxes(1, 2)" if needs["transpose"] else images
    return f"255 - {images}" if needs["invert"] else images
