import json

from hornbook.storage.hardware import hardware, processor


def test_the_machine_is_told_as_json():
    known = hardware()
    assert known["cores"] >= 1
    assert known["processor"]
    assert known["memory_bytes"] is None or known["memory_bytes"] > 1e8
    assert json.loads(json.dumps(known)) == known


def test_a_processor_is_called_by_its_name(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name : A: Processor @ 3 GHz\nmodel name : B\n")
    assert processor(tmp_path) == "A: Processor @ 3 GHz"
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\n")
    assert processor(tmp_path), "its architecture"
    assert isinstance(processor(tmp_path / "none"), str)
