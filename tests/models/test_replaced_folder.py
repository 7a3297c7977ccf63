import os
from pathlib import Path

import pytest

from penjing.models.replaced_folder import replaced_folder


def tree(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}


def fill_and_fail(final: Path, error: type[BaseException]) -> None:
    with replaced_folder(final) as filling:
        (filling / "a").write_text("1")
        raise error


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "final"
    with replaced_folder(final) as filling:
        (filling / "a").write_text("1")
        assert not final.exists()
        assert filling.parent == final.parent
    assert tree(tmp_path) == {"deep/final/a": "1"}


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    final = tmp_path / "final"
    (final / "inside").mkdir(parents=True)
    (final / "inside" / "old").write_text("0")
    with replaced_folder(final) as filling:
        (filling / "a").write_text("1")
        assert tree(final) == {"inside/old": "0"}
    assert tree(tmp_path) == {"final/a": "1"}
    assert os.listdir(tmp_path) == ["final"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_older_folder_alone(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").write_text("0")
    with pytest.raises(error):
        fill_and_fail(final, error)
    assert tree(tmp_path) == {"final/old": "0"}
    assert os.listdir(tmp_path) == ["final"]


def test_a_failed_swap_puts_the_older_folder_back(tmp_path: Path) -> None:
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").write_text("0")
    with pytest.raises(OSError, match="No such file"), replaced_folder(final) as filling:
        filling.rmdir()
    assert tree(tmp_path) == {"final/old": "0"}


def test_the_new_folder_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with replaced_folder(tmp_path / "final"):
        pass
    assert (tmp_path / "final").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_keeps_pointing_at_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replaced_folder(tmp_path / "link") as filling:
        (filling / "a").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "1"
