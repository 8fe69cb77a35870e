"""`sensor_msgs_py.point_cloud2`, as far as it is used here, for where it is missing: the wheels."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

FLOATS = {PointField.FLOAT32: np.dtype("f4"), PointField.FLOAT64: np.dtype("f8")}


def read_points(cloud: PointCloud2, field_names: Sequence[str]) -> np.ndarray:
    """(N,) structured view of some fields, of FLOATS, of a cloud whose rows aren't padded."""
    fields = [field for field in cloud.fields if field.name in field_names]
    order = ">" if cloud.is_bigendian else "<"
    layout = {
        "names": [field.name for field in fields],
        "formats": [FLOATS[field.datatype].newbyteorder(order) for field in fields],
        "offsets": [field.offset for field in fields],
        "itemsize": cloud.point_step,
    }
    return np.ndarray(cloud.width * cloud.height, np.dtype(layout), cloud.data)


def create_cloud(header: Header, fields: Sequence[PointField], points: np.ndarray) -> PointCloud2:
    """A cloud of structured points (N,), laid out as the fields say."""
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=array("B", points.tobytes()),
        is_dense=False,
    )
