"""Loading trees: what is read, and every way a tree may not be."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tree_kit import BOOK, edit, grow, put, said

from envtui.core.errors import InvalidFiles, Unsound, UsageError
from envtui.outside.trees import files as files_module
from envtui.outside.trees.files import unchanged, writable_by_others
from envtui.outside.trees.load import load_tree, load_trees, read_forest


def test_sound_trees_have_no_problems(tmp_path: Path) -> None:
    assert said(grow(tmp_path, "dev", "staging", "production")) == []


def test_a_tree_holds_what_its_files_said(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev")
    put(root / "dev/books/deep/er/other.yaml", BOOK.format(name="dev").replace("id: look", "id: other"))
    put(root / "dev/sql/reseed.sql", "select 1")
    tree = load_tree(root / "dev")
    book = tree.books["other"]
    assert (book.folder, book.path) == ("deep/er", "books/deep/er/other.yaml")
    assert book.sha256 == hashlib.sha256((root / "dev" / book.path).read_bytes()).hexdigest()
    assert book.positions[("steps", 0, "argv")][0] == 11
    assert tree.files == {"sql/reseed.sql": b"select 1"}
    assert tree.people.people["asha"].principals == ("asha",)
    assert tree.manifest_sha256 == hashlib.sha256((root / "dev/environment.yaml").read_bytes()).hexdigest()
    assert set(tree.trusted_texts) == {
        "environment.yaml", "known_hosts", "access/allowed_signers", "access/people.yaml",
    }  # fmt: skip


def test_nothing_is_read_again(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev")
    put(root / "dev/sql/x.sql", "select 1")
    tree = load_tree(root / "dev")
    put(root / "dev/sql/x.sql", "drop table orders")
    (root / "dev/books/look.yaml").unlink()
    assert tree.files["sql/x.sql"] == b"select 1"
    assert tree.books["look"].positions[("id",)] == (2, 1)


def test_a_file_that_a_library_reads_itself_is_still_what_was_accepted(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev")
    authority = root / "dev/files/ca.pem"
    put(authority, "an authority")
    tree = load_tree(root / "dev")
    assert unchanged(tree, "files/ca.pem") == authority
    put(authority, "another authority")
    with pytest.raises(Unsound, match="is not what it was"):
        unchanged(tree, "files/ca.pem")
    authority.unlink()
    with pytest.raises(Unsound, match="cannot be read"):
        unchanged(tree, "files/ca.pem")
    put(root / "dev/files/new.pem", "not there when it was accepted")
    with pytest.raises(Unsound, match="is not what it was"):
        unchanged(tree, "files/new.pem")


@pytest.mark.parametrize(
    ("path", "policy", "roster", "trust"),
    [
        ("environment.yaml", False, False, True),
        ("access/people.yaml", True, True, True),
        ("access/allowed_signers", True, True, True),
        ("access/policy.sigs", True, False, True),
        ("known_hosts", False, False, True),
        ("books/look.yaml", False, False, False),
        ("sql/x.sql", False, False, False),
    ],
)
def test_which_digest_covers_what(tmp_path: Path, path: str, policy: bool, roster: bool, trust: bool) -> None:
    tree = grow(tmp_path, "dev") / "dev"
    put(tree / "sql/x.sql", "select 1")
    put(tree / "access/policy.sigs", "x")
    before = load_tree(tree)
    with (tree / path).open("a") as stream:
        stream.write("\n# more\n")
    after = load_tree(tree)
    assert (before.policy_sha256 != after.policy_sha256) == policy
    assert (before.roster_sha256 != after.roster_sha256) == roster
    assert (before.trust_sha256 != after.trust_sha256) == trust


def test_the_policy_digest_covers_the_manifests_access_section(tmp_path: Path) -> None:
    tree = grow(tmp_path, "dev") / "dev"
    before = load_tree(tree)
    edit(
        tree / "environment.yaml", "access: {write_gate: advisory}", "access: {write_gate: advisory, signoff: {min: 0}}"
    )
    assert load_tree(tree).policy_sha256 != before.policy_sha256


def test_all_errors_of_all_files_at_once(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev", "staging")
    edit(root / "dev/books/look.yaml", "owner: team", "ovner: team")
    edit(root / "dev/environment.yaml", "dbname: shop", "dbname: shop\n    dbname: shop")
    put(root / "staging/books/bad.yaml", "a: [b")
    with pytest.raises(InvalidFiles) as caught:
        load_trees(root)
    text = str(caught.value).replace(f"{root.resolve()}/", "")
    assert "dev/books/look.yaml:5:1: unknown key 'ovner'. Did you mean 'owner'?" in text
    assert "dev/books/look.yaml:1:1: owner is missing." in text
    assert "dev/environment.yaml:19:5: 'dbname' is here for the second time" in text
    assert "staging/books/bad.yaml:2:1" in text or "staging/books/bad.yaml:1:4" in text
    assert len(caught.value.problems) == 4


def test_a_broken_neighbour_does_not_hide_a_sound_tree(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev", "staging")
    put(root / "dev/environment.yaml", "x")
    forest = read_forest(root)
    assert list(forest.trees) == ["staging"]
    assert forest.problems_of("dev")
    assert forest.problems_of("staging") == ()


class TestRefused:
    def test_a_name_that_is_not_the_folders(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        (root / "dev").rename(root / "test")
        assert any("'dev' is not that of its folder, 'test'" in each for each in said(root))

    def test_a_link_out_of_the_tree(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev", "staging")
        (root / "dev/books/theirs.yaml").symlink_to(root / "staging/books/look.yaml")
        (root / "dev/sql").symlink_to("/etc")
        found = said(root)
        assert [each.split(":")[0] for each in found] == ["dev/books/theirs.yaml", "dev/sql"]
        assert all("a symbolic link" in each for each in found)

    def test_a_link_instead_of_a_tree(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        (root / "staging").symlink_to(root / "dev")
        assert any(each.startswith("staging: a symbolic link") for each in said(root))

    def test_a_file_that_is_no_file(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        os.mkfifo(root / "dev/books/pipe.yaml", 0o600)
        assert said(root) == ["dev/books/pipe.yaml: not a file. A tree holds files and folders."]

    @pytest.mark.parametrize("path", ["dev", "dev/books", "dev/books/look.yaml", "dev/environment.yaml", "."])
    @pytest.mark.parametrize("mode", [0o002, 0o020])
    def test_what_others_may_write(self, tmp_path: Path, path: str, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
        root = grow(tmp_path / "trees", "dev")
        (root / path).chmod((root / path).stat().st_mode | mode)
        if mode == 0o020:
            monkeypatch.setattr(files_module, "writable_by_others", _no_private_groups)
        found = [each for each in said(root) if "may write" in each]
        if mode == 0o002 or path != ".":
            assert len(found) == 1
            assert "chmod go-w it." in found[0]

    def test_an_artifact_that_is_not_named_by_its_content(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev", "staging")
        good = hashlib.sha256(b"policy").hexdigest()
        for name in ("dev", "staging"):
            put(root / name / "artifacts" / f"policy-{good}", "policy")
        assert said(root) == []
        put(root / "dev/artifacts" / f"policy-{good[:-1]}0", "other")
        assert "ends in its sha256" in said(root)[0]

    def test_two_books_of_one_id(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        put(root / "dev/books/z.yaml", BOOK.format(name="dev") + "# differs\n")
        assert said(root) == [
            "dev/books/z.yaml:2:1: the id 'look' is that of books/look.yaml already. An id names one book of an environment."
        ]

    def test_a_book_that_is_not_named_like_one(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        put(root / "dev/books/old.yml", "x")
        put(root / "dev/books/README.md", "x")
        assert said(root) == [
            "warning: dev/books/README.md: not a book. Books are named *.yaml.",
            "dev/books/old.yml: not a book. Books are named *.yaml.",
        ]

    def test_a_circle_of_promotions(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev", "staging")
        with (root / "dev/environment.yaml").open("a") as stream:
            stream.write("promotes_from: staging\n")
        assert [each for each in said(root) if "leads back" in each] == [
            "dev/environment.yaml:25:1: promotes_from leads back to this environment. One of the circle is the first.",
            "staging/environment.yaml:25:1: promotes_from leads back to this environment. One of the circle is the first.",
        ]

    def test_an_origin_that_is_not_there(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev", "staging")
        edit(root / "staging/environment.yaml", "promotes_from: dev", "promotes_from: test")
        assert said(root) == ["staging/environment.yaml:25:1: promotes_from: no environment 'test' here. Known: dev."]

    def test_a_manifest_that_is_not_there(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev", "staging")
        (root / "staging/environment.yaml").unlink()
        assert said(root) == ["staging/environment.yaml: this file is missing."]
        (root / "dev/environment.yaml").unlink()
        with pytest.raises(UsageError, match=r"none of its folders has an environment\.yaml"):
            read_forest(root)

    def test_one_environment_instead_of_all(self, tmp_path: Path) -> None:
        root = grow(tmp_path, "dev")
        with pytest.raises(UsageError, match=rf"dev is one environment\. Name the folder of all of them: {root}\.$"):
            read_forest(root / "dev")

    def test_the_order_is_that_of_promotion(self, tmp_path: Path) -> None:
        assert list(read_forest(grow(tmp_path, "dev", "staging", "production")).trees) == [
            "dev",
            "staging",
            "production",
        ]

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is no folder"):
            read_forest(tmp_path / "nowhere")
        with pytest.raises(UsageError, match="holds no environment"):
            read_forest(tmp_path)


def _no_private_groups(status: os.stat_result) -> str:
    """As on a machine where the file's group has other people in it."""
    return "the group staff" if status.st_mode & 0o020 else writable_by_others(status)


def test_the_owners_own_group_is_the_owner(tmp_path: Path) -> None:
    """Fedora and Ubuntu clone with umask 002 into a group that holds its user alone."""
    file = put(tmp_path / "x", "x")
    file.chmod(0o664)
    import grp
    import pwd

    status = file.stat()
    owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    alone = group.gr_name == owner.pw_name and not set(group.gr_mem) - {owner.pw_name}
    assert writable_by_others(status) == ("" if alone else f"the group {group.gr_name}")
    file.chmod(0o666)
    assert writable_by_others(file.stat()) == "other users"
