"""Rules of this code that no linter knows. A layer contract belongs into pyproject.toml (import-linter)."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.provider_contract import PAYLOADS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/market_data"
MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
CLIENTS = [path for path in (SOURCE / "etl/clients").glob("*.py") if not path.name.startswith("_")]

MODULE_LINES, FUNCTION_LINES, ROUTE_STATEMENTS = 300, 40, 10

Function = ast.FunctionDef | ast.AsyncFunctionDef

SQL_BUILT_FROM_PARTS = {
    "db/layout.py",  # the tables of bars
    "db/aggregates.py",  # the intervals
    "db/storage_move.py",  # the tables of bars
    "db/storage_swap.py",  # the tables of bars, and what the catalogue says of them
    "repositories/coverage.py",  # the table of an interval
    "repositories/market_price_sql.py",  # the table of an interval, the order
    "repositories/market_price_writer.py",  # the table of an interval
    "repositories/retention.py",  # the table of an interval
    "repositories/price_block.py",  # the table of an interval
    "db/embedded/cluster.py",  # the single-user server takes none; the password is our own
    "db/embedded/probe.py",  # a constant name: CREATE DATABASE takes no parameters
}
VENDORS_NAMED = {
    "core/config.py",  # the default of SOURCE_PREFERENCE
    "services/sample.py",  # the bundled sample is the ECB's
    "schemas/fields.py",  # examples in OpenAPI
}


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def test_modules_are_short():
    long = {
        name(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    }
    assert not long


def test_functions_are_short():
    """Counted from the first line of the body: the options of a command are its signature."""
    long = {}
    for path, tree in TREES.items():
        for one in functions(tree):
            lines = (one.end_lineno or 0) - one.body[0].lineno + 1
            if lines > FUNCTION_LINES:
                long[f"{name(path)}:{one.name}"] = lines
    assert not long


def test_no_error_is_swallowed():
    """Only an error that is expected by name may be passed over."""
    silent = [
        f"{name(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and getattr(node.type, "id", None) in {None, "Exception", "BaseException"}
        and (node.type is None or all(isinstance(one, ast.Pass) for one in node.body))
        and not isinstance(node.type, ast.Tuple | ast.Attribute)
    ]
    assert not silent


EXCEPTION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|nosec)\b(.*)")
EXPLAINED = re.compile(r"(: [A-Z]+\d+(, ?[A-Z]+\d+)*|\[[a-z-]+(, ?[a-z-]+)*\]|: no cover)\s+(#|-) ?\S+")


def test_every_exception_from_a_rule_says_which_and_why():
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*MODULES, *(ROOT / "alembic").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := EXCEPTION.search(line)) and not EXPLAINED.match(found[2])
    ]
    assert not bare


def test_only_the_command_line_prints():
    printing = [
        f"{name(path)}:{node.lineno}"
        for path, tree in TREES.items()
        if not name(path).startswith("cli/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not printing


SQL = re.compile(
    r"\b(SELECT\s|INSERT INTO|UPDATE \S+ SET|DELETE FROM|MERGE INTO|COPY \S|TRUNCATE\b)"
    r"|\b(CREATE|ALTER|DROP) [A-Z]{3,}"
)


def test_sql_is_built_from_parts_in_named_places_only():
    """Values travel as parameters: an f-string, `%` or `.format` would put them into the text."""
    built = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
                text = str(getattr(node.left, "value", ""))
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "format"
            ):
                text = str(getattr(node.func.value, "value", ""))
            if SQL.search(text):
                built.add(name(path))
    assert built == SQL_BUILT_FROM_PARTS


def test_texts_given_to_the_database_are_written_out():
    """`sqlalchemy.text` takes a literal."""
    computed = [
        f"{name(path)}:{node.lineno}"
        for path, tree in TREES.items()
        if name(path).startswith(("db/", "repositories/", "models/"))
        and name(path) not in SQL_BUILT_FROM_PARTS
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "text"
        if not isinstance(node.args[0], ast.Constant)
    ]
    assert not computed


def routes() -> Iterator[tuple[str, Function]]:
    for path in sorted((SOURCE / "api/routes").glob("*.py")):
        for one in functions(TREES[path]):
            yield f"{name(path)}:{one.name}", one


def test_routes_parse_call_and_return():
    assert sum(1 for _ in routes()) > 10
    for where, one in routes():
        body = [node for node in ast.walk(one) if isinstance(node, ast.stmt) and node is not one]
        assert not [node for node in body if isinstance(node, ast.Try)], f"{where} catches"
        statements = len(body) - (ast.get_docstring(one) is not None)
        assert statements <= ROUTE_STATEMENTS, f"{where} has {statements} statements"


def public(node: ast.AST, path: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            yield f"{path}:{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{path}:{child.name}")


def test_what_is_public_is_documented():
    bare = [name(path) for path, tree in TREES.items() if ast.get_docstring(tree) is None]
    for path, tree in TREES.items():
        bare += [where for where, node in public(tree, name(path)) if ast.get_docstring(node) is None]
    assert not bare


@pytest.mark.parametrize("path", CLIENTS, ids=lambda path: path.stem)
def test_a_provider_is_one_file_and_one_payload(path):
    tree = TREES[path]
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [module for module in imported if module and module.startswith("market_data.etl.clients")]
    clients = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and "ProviderClient" in [getattr(base, "id", "") for base in node.bases]
    ]
    assert len(clients) == 1
    assert (PAYLOADS / f"{path.stem}.json").is_file()


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every text but documentation and examples."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in documentation and not text.startswith("Example: "):
            yield text


def test_nobody_else_knows_a_vendor():
    vendors = re.compile(rf"\b({'|'.join(path.stem for path in CLIENTS)}|alpha.?vantage)\b", re.IGNORECASE)
    others = {path: tree for path, tree in TREES.items() if path not in CLIENTS}
    knowing = {name(path) for path, tree in others.items() if any(map(vendors.search, texts(tree)))}
    assert knowing == VENDORS_NAMED


def tracked() -> Iterator[Path]:
    """Yield the text files of the project, those not committed yet included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not run: no git checkout to list files of")
    for found in listed.stdout.decode().split("\0"):
        if found and (path := ROOT / found).is_file():
            yield path


FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.~}])/(root|work|home/\w+|Users/\w+)/(?!\.\.\.)"),
    "a package index": re.compile(
        r"(index-url|trusted-host|find-links)[ =]+[a-z]\S*[.:]\S*|https?://\S+/simple\b"
    ),
    "unfinished work": re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
}


def test_files_hold_nothing_of_this_machine_and_nothing_unfinished():
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # no text
        for number, line in enumerate(lines, 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {what}"
                for what, one in FORBIDDEN.items()
                if one.search(line)
            ]
    assert not found
