"""What cameras and codecs do to a picture: blur, noise, JPEG, a coded frame of video.

Pictures are (H, W, 3) float32, RGB in [0, 1].
"""

from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation

SCALER = int(Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND)


def blur(picture: np.ndarray, deviation: float) -> np.ndarray:
    """Convolved with a Gaussian of that standard deviation, pixels; the edge reflects."""
    return cv2.GaussianBlur(picture, (0, 0), deviation, borderType=cv2.BORDER_REFLECT)


def sensor_noise(
    picture: np.ndarray,
    deviation: float,
    generator: np.random.Generator,
    grain: float = 0,
    grey: float = 0,
    lean: float = 0,
) -> np.ndarray:
    """The picture with Gaussian noise as a camera leaves it, clipped to [0, 1].

    Args:
        deviation: root mean square of the noise over the picture, before clipping.
        grain: standard deviation, pixels, of the Gaussian that the noise is smoothed with; 0 for white noise.
        grey: share of the variance that is common to the three channels, 0 to 1.
        lean: the noise's deviation goes as (0.15 + brightness)^lean: above 0 bright places are the noisier ones, as at
            a sensor, below 0 the dark ones, as once a camera has lifted its shadows.
    """
    noise = generator.standard_normal(picture.shape, np.float32) * np.float32(np.sqrt(1 - grey))
    if grey:
        noise += generator.standard_normal((*picture.shape[:2], 1), np.float32) * np.float32(np.sqrt(grey))
    if grain:
        noise = blur(noise, grain)
    if lean:
        noise *= (0.15 + picture.mean(2, keepdims=True)) ** lean
    noise *= deviation / np.sqrt(np.square(noise).mean())
    return np.clip(picture + noise, 0, 1)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG of that quality, 1 to 100, colour at half the resolution."""
    encoded = cv2.imencode(".jpg", _bytes(picture)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return _floats(decoded[..., ::-1])  # OpenCV's order: blue, green, red


def video_frame(picture: np.ndarray, codec: Literal["h264", "mpeg4"], amount: int) -> np.ndarray:
    """Through the codec as a key frame, 4:2:0.

    Args:
        amount: of loss: the rate factor of x264, 0 to 51, or MPEG-4's quantiser, 1 to 31.
    """
    height, width = picture.shape[:2]
    whole = np.pad(_bytes(picture), ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    name: Literal["libx264", "mpeg4"] = "libx264" if codec == "h264" else "mpeg4"
    encoder = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = whole.shape[1], whole.shape[0], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    if codec == "h264":
        encoder.options = {"crf": str(amount), "preset": "veryfast", "tune": "zerolatency"}
    else:
        encoder.options = {"qmin": str(amount), "qmax": str(amount)}
    frame = av.VideoFrame.from_ndarray(whole, "rgb24").reformat(format="yuv420p", interpolation=SCALER)
    frame.pts = 0
    packets = encoder.encode(frame) + encoder.encode(None)
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    decoder.extradata = encoder.extradata
    (decoded,) = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    # Decoders say that chroma lies half a pixel to the left of where it was taken: pass on the planes without that.
    planes = av.VideoFrame.from_ndarray(decoded.to_ndarray(), "yuv420p")
    return _floats(planes.reformat(format="rgb24", interpolation=SCALER).to_ndarray()[:height, :width])


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _floats(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture, np.float32) / 255
