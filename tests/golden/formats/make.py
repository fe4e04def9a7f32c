"""Writes the payloads of this folder with encoders that have nothing to do with Tidemill.

    python3 -m venv venv
    venv/bin/pip install cbor2==6.3.0 msgpack==1.2.4 influxdb-client==1.50.0 senml==0.1.0 kpn-senml==1.0.1 pysparkplug==0.6.1
    venv/bin/python make.py

The bytes are committed, and `ingest/tests/formats` says what each of them means; run this again only to add payloads.
`senml` writes the version 5 of a draft, `kpn-senml` no version and a wrong label for base sums in CBOR, which is
therefore left out there.
"""

import builtins
import csv
import datetime
import io
import json
import pathlib

import cbor2
import kpn_senml
import msgpack
import senml.senml as draft_senml
from influxdb_client import Point
from pysparkplug._protobuf import sparkplug_b_pb2 as pb

# `kpn-senml` still asks for it.
builtins.basestring = str

HERE = pathlib.Path(__file__).parent
TIME = datetime.datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=datetime.timezone.utc)


def write(name, payload):
    (HERE / name).write_bytes(payload)


def point(time):
    return {
        "ts": time,
        "tags": {"site": "north", "line": "ü"},
        "temperature": 21.5,
        "ratio": 0.1,
        "count": 1700000000123,
        "low": -(2**63),
        "open": True,
        "state": "läuft",
        "absent": None,
        "motor": {"current": 3, "phase": {"a": -1.25}},
    }


def senml_json():
    pack = kpn_senml.SenmlPack("urn:dev:mac:0024befffe804ff1/")
    pack.base_time = 1700000000
    pack.base_value = 20
    pack.base_sum = 100
    pack.add(kpn_senml.SenmlRecord("temp", unit="Cel", value=21.5, time=1699999995))
    pack.add(kpn_senml.SenmlRecord("humidity", unit="%RH", value=40))
    pack.add(kpn_senml.SenmlRecord("energy", unit="J", sum=123.25))
    pack.add(kpn_senml.SenmlRecord("open", value=False))
    pack.add(kpn_senml.SenmlRecord("state", value="on"))
    return pack.to_json().encode()


def senml_cbor():
    pack = kpn_senml.SenmlPack("urn:dev:mac:0024befffe804ff1/")
    pack.base_time = 1700000000
    pack.add(kpn_senml.SenmlRecord("temp", unit="Cel", value=21.5, time=1699999995))
    pack.add(kpn_senml.SenmlRecord("humidity", unit="%RH", value=40))
    pack.add(kpn_senml.SenmlRecord("open", value=False))
    pack.add(kpn_senml.SenmlRecord("state", value="on"))
    return pack.to_cbor()


def senml_draft():
    measurement = draft_senml.SenMLMeasurement
    base = measurement(name="urn:dev:ow:10e2073a01080063:", time=1700000000.25)
    measurements = [measurement(name="voltage", value=120.1, unit="V"), measurement(name="on", value=True)]
    return json.dumps(draft_senml.SenMLDocument(measurements, base=base).to_json()).encode()


def line_protocol():
    points = [
        Point("weather station")
        .tag("site", "north, hall 2")
        .tag("k=v", "a b")
        .field("temperature", 21.5)
        .field("count", 7)
        .field("open", True)
        .field("say \"so\"", 'quotes " and \\ backslash')
        .time(1700000000250000000),
        Point("plain").field("v", -1e-9),
    ]
    return "\n".join(p.to_line_protocol() for p in points).encode()


def csv_lines():
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["ts", "tag:site", "temperature", "state", "count"])
    writer.writerow([1700000000250, "north", 21.5, 'on, "really"', 7])
    writer.writerow([TIME.isoformat(), "south", "", "two\nlines", -8])
    return out.getvalue().encode()


def sparkplug(name, metrics, seq=None):
    payload = pb.Payload(timestamp=1700000000000)
    if seq is not None:
        payload.seq = seq
    for fields in metrics:
        payload.metrics.add(**fields)
    write(name, payload.SerializeToString())


sparkplug(
    "sparkplug_nbirth.bin",
    [
        dict(name="bdSeq", datatype=8, long_value=3),
        dict(name="Node Control/Rebirth", datatype=11, boolean_value=False),
        dict(name="temp", alias=1, datatype=10, double_value=21.5),
        dict(name="low", alias=2, datatype=1, int_value=0xFFFFFFFB, timestamp=1699999999000),
        dict(name="big", alias=3, datatype=8, long_value=2**63),
        dict(name="level", alias=4, datatype=9, float_value=0.5),
        dict(name="state", alias=5, datatype=12, string_value="läuft"),
        dict(name="when", alias=6, datatype=13, long_value=1700000000123),
        dict(name="absent", alias=7, datatype=3, is_null=True),
        dict(name="blob", alias=8, datatype=17, bytes_value=b"x"),
    ],
    seq=0,
)
sparkplug(
    "sparkplug_ndata.bin",
    [
        dict(alias=1, double_value=22.5),
        dict(alias=2, int_value=0xFFFFFFFA),
        dict(alias=1, double_value=20.5, timestamp=1699999990000, is_historical=True),
    ],
    seq=1,
)
structured = pb.Payload(timestamp=1700000000000, seq=2)
structured.metrics.add(name="types/motor", datatype=19).template_value.is_definition = True
structured.metrics.add(name="before", datatype=9, float_value=1.5)
table = structured.metrics.add(name="table", datatype=16).dataset_value
table.num_of_columns = 1
table.columns.append("a")
table.types.append(3)
table.rows.add().elements.add(int_value=7)
motor = structured.metrics.add(name="motor", datatype=19).template_value
motor.template_ref = "types/motor"
motor.is_definition = False
motor.metrics.add(name="rpm", datatype=3, int_value=900)
structured.metrics.add(name="bits", datatype=32, bytes_value=b"\x05\x00\x00\x00\x1f")
structured.metrics.add(name="after", datatype=11, boolean_value=True, is_historical=True)
write("sparkplug_structured.bin", structured.SerializeToString())
sparkplug("sparkplug_ndeath.bin", [dict(name="bdSeq", datatype=8, long_value=3)])
write("points.cbor", cbor2.dumps(point(1700000000250)))
write("points_tagged_time.cbor", cbor2.dumps([point(TIME), point(1700000000251)], canonical=True))
write("points.msgpack", msgpack.packb(point(1700000000250)))
write("points_timestamp.msgpack", msgpack.packb([point(TIME), point(1700000000251)], datetime=True))
write("senml.json", senml_json())
write("senml.cbor", senml_cbor())
write("senml_draft.json", senml_draft())
write("line_protocol.txt", line_protocol())
write("lines.csv", csv_lines())
