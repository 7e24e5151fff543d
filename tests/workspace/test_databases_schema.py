"""A schema for every task: what is copied, who gets where, and what a database can refuse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import StrettoError
from stretto.workspace.databases import Branch, Branches, connect, own, programs, schema_dump
from stretto.workspace.databases.branches import DROPPING
from stretto.workspace.databases.postgres_schema import PostgresSchema
from stretto.workspace.databases.schema_dump import renamed
from tests.support.postgres import Cluster, query

#: as much of what a schema can hold as one can make without being a superuser
RICH = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN watt AS integer CHECK (VALUE >= 0);
CREATE TYPE pair AS (a integer, b mood);
CREATE SEQUENCE odd INCREMENT 2 START 7;
CREATE TABLE maker (id serial PRIMARY KEY, name text UNIQUE);
CREATE TABLE lamp (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  maker integer REFERENCES maker DEFERRABLE,
  feel mood DEFAULT 'good',
  power watt,
  twice integer GENERATED ALWAYS AS (power * 2) STORED,
  odd integer DEFAULT nextval('odd'),
  "a;b" text DEFAULT 'public.lamp; -- it''s text',
  parts pair
);
COMMENT ON TABLE lamp IS 'a comment; with '' and \\\\ in it';
COMMENT ON COLUMN lamp.odd IS E'two\\nlines';
CREATE TABLE reading (at integer, v integer) PARTITION BY RANGE (at);
CREATE TABLE reading_low PARTITION OF reading FOR VALUES FROM (0) TO (100);
CREATE INDEX by_power ON lamp (power) WHERE power > 10;
CREATE VIEW bright AS SELECT public.lamp.id, m.name FROM lamp JOIN maker m ON m.id = lamp.maker;
CREATE MATERIALIZED VIEW totals AS SELECT maker, sum(power) AS power FROM lamp GROUP BY maker;
CREATE FUNCTION lit() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM lamp';
CREATE FUNCTION pinned() RETURNS bigint LANGUAGE sql SET search_path TO public, pg_temp
  AS $f$ SELECT count(*) FROM lamp $f$;
CREATE FUNCTION parsed() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM lamp; END;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.power := NEW.power + 1; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT ON lamp FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE FUNCTION plus(mood, mood) RETURNS mood LANGUAGE sql AS 'SELECT $1';
CREATE OPERATOR <+> (LEFTARG = mood, RIGHTARG = mood, FUNCTION = plus);
CREATE VIEW summed AS SELECT feel <+> feel AS feel, 'maker'::regclass AS whose FROM lamp;
CREATE RULE quiet AS ON DELETE TO bright DO INSTEAD NOTHING;
INSERT INTO maker (name) VALUES ('A\tB'), (E'back\\\\slash'), ('\\.');
INSERT INTO lamp (maker, power, parts) VALUES (1, 9, (1, 'bad')), (2, 19, NULL);
INSERT INTO reading VALUES (5, 50);
REFRESH MATERIALIZED VIEW totals;
ALTER TABLE maker ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON maker USING (true);
"""
#: what is asked of it, and what the answer has to be
ASKED = [
    ("SELECT count(*) FROM lamp", ["2"]),
    ("SELECT lit(), pinned(), parsed()", ["2|2|2"]),
    ("INSERT INTO lamp (maker, power) VALUES (3, 1) RETURNING id, power, twice, odd, feel", ["3|2|4|11|good"]),
    ('SELECT DISTINCT "a;b" FROM lamp', ["public.lamp; -- it's text"]),
    ("SELECT lit(), pinned(), parsed()", ["3|3|3"]),
    ("SELECT name FROM bright ORDER BY id LIMIT 2", ["A\tB", "back\\slash"]),
    ("SELECT name FROM maker WHERE id = 3", ["\\."]),
    ("INSERT INTO maker (name) VALUES ('later') RETURNING id", ["4"]),
    ("SELECT power FROM totals ORDER BY maker", ["10", "20"]),
    ("SELECT v FROM reading_low", ["50"]),
    ("SELECT DISTINCT feel, whose::text FROM summed", ["good|maker"]),
    ("SELECT obj_description('lamp'::regclass)", ["a comment; with ' and \\\\ in it"]),
    ("REFRESH MATERIALIZED VIEW totals", []),
    ("SELECT (parts).b FROM lamp WHERE id = 1", ["bad"]),
]


class Shop:
    """A source schema, its branches, and the programs of tasks."""

    def __init__(self, cluster: Cluster, folder: Path, script: str = "") -> None:
        self.cluster, self.folder = cluster, folder
        self.name = f"dev_{os.urandom(4).hex()}"
        cluster.run(f"CREATE DATABASE {self.name};", "postgres")
        cluster.run(script or "CREATE TABLE source (n integer); INSERT INTO source VALUES (1), (2);", self.name)
        self.all: list[Branches] = []
        self.before = self.roles()

    def roles(self) -> list[str]:
        """Ours on the whole server; those of other tests may be among them."""
        found = self.cluster.admin.run("SELECT rolname FROM pg_roles WHERE rolname LIKE 'stretto\\_%';")
        return sorted(row[0] for row in found)

    def branches(self, user: str = "ann", **given: Any) -> Branches:
        table = {"provider": "postgres-schema", "url": self.cluster.url(user, self.name).text(), **given}
        found = connect(
            table, root=self.folder / self.name, folder=self.folder / "ours", home="h", ignored=lambda path: True
        )
        assert found is not None
        self.all.append(found)
        return found

    def make(self, owner: str, found: Branches | None = None, start: str = "start") -> tuple[Branch, Branches]:
        found = found or self.branches()
        return found.ensure(owner, "task", found.place(self.folder), start), found

    def asked(self, row: Branch, found: Branches, script: str) -> subprocess.CompletedProcess[str]:
        address = found.address(row, found.place(self.folder))
        return query(address.url, address.env, script)

    def given(self, row: Branch, found: Branches, script: str) -> list[str]:
        done = self.asked(row, found, script)
        assert done.returncode == 0, (script, done.stderr)
        return done.stdout.split("\n")[:-1]

    def gone(self) -> None:
        for row in self.branches().known():
            self.all[-1]._drop(row, self.all[-1].place(self.folder))
        assert self.roles() == self.before
        self.cluster.admin.run(f"DROP DATABASE {self.name} WITH (FORCE);")


@pytest.fixture
def shop(postgres: Cluster, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(postgres, tmp_path)
    yield made
    made.gone()


@pytest.mark.parametrize("folder", programs.servers(), ids=lambda folder: folder.parent.name)
def test_all_of_a_schema_is_copied_and_works_under_its_new_name(
    folder: Path, short_folder: Path, tmp_path: Path
) -> None:
    """From the person's, and from a golden template of that; on every version that is installed."""
    cluster = Cluster(folder, short_folder / "pg")
    try:
        shop = Shop(cluster, tmp_path, RICH)
        first, found = shop.make("run-aaaa/one")
        found.settled("run-aaaa/one", "task", found.place(tmp_path), "start")
        second, _ = shop.make("run-aaaa/two", found)
        assert (first.template, second.template) == (None, found.templates()[0].name)
        for row in (first, second):
            for script, expected in ASKED:
                assert shop.given(row, found, script) == expected, script
            inside = f"SELECT count(*) FROM pg_class WHERE relnamespace = '{row.name}'::regnamespace"
            mine = cluster.run("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace;", shop.name)
            assert shop.given(row, found, inside) == mine[0]
            leads = "SELECT count(*) FROM pg_depend d JOIN pg_class c ON c.oid = d.objid"
            leads += " JOIN pg_class r ON r.oid = d.refobjid"
            leads += f" WHERE c.relnamespace = '{row.name}'::regnamespace AND r.relnamespace = 'public'::regnamespace"
            assert shop.given(row, found, leads) == ["0"]
        assert cluster.run("SELECT lit(), count(*) FROM maker;", shop.name) == [["2", "3"]]
        shop.gone()
    finally:
        cluster.stop()


def test_a_task_gets_into_its_own_schema_and_no_other(shop: Shop) -> None:
    one, found = shop.make("run-aaaa/one")
    other, _ = shop.make("run-aaaa/other", found)
    assert shop.given(one, found, "SHOW search_path") == [one.name]
    assert shop.given(one, found, "SELECT count(*) FROM source") == ["2"]
    before = found.provider.found()
    for words in (
        f"SELECT * FROM {other.name}.source",
        "SELECT * FROM public.source",
        "DELETE FROM public.source",
        "CREATE TABLE public.mine (n integer)",
        f"CREATE TABLE {other.name}.mine (n integer)",
        f"CREATE FUNCTION {other.name}.count() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        f"DROP SCHEMA {other.name} CASCADE",
        f"DROP SCHEMA {one.name} CASCADE",
        f"ALTER SCHEMA {one.name} RENAME TO mine",
        f"COMMENT ON SCHEMA {one.name} IS 'mine'",
        f"GRANT USAGE ON SCHEMA {other.name} TO {one.name}",
        f"ALTER SCHEMA {other.name} OWNER TO {one.name}",
        "CREATE SCHEMA stretto_more",
        "CREATE EXTENSION vector",
        "CREATE ROLE more",
        "CREATE DATABASE more",
        f"ALTER ROLE {other.name} PASSWORD 'x'",
        f"ALTER ROLE {other.name} SET search_path TO {one.name}",
        f"COMMENT ON ROLE {one.name} IS 'mine'",
        f"SET ROLE {other.name}",
        "SET ROLE ann",
        f"SET SESSION AUTHORIZATION {other.name}",
        f"GRANT {other.name} TO {one.name}",
        f"REASSIGN OWNED BY {other.name} TO {one.name}",
        f"DROP OWNED BY {other.name}",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{other.name}'"
        " UNION ALL SELECT 1/0 = 1",
        f"ALTER DATABASE {shop.name} SET search_path TO {one.name}",
        f"COPY source TO PROGRAM 'touch {shop.folder}/escaped'",
    ):
        assert shop.asked(one, found, words).returncode != 0, words
    assert found.provider.found() == before
    assert shop.given(other, found, "SELECT count(*) FROM source") == ["2"]
    assert shop.cluster.run("SELECT count(*) FROM source;", shop.name) == [["2"]]


def test_a_task_may_do_everything_in_its_own(shop: Shop) -> None:
    row, found = shop.make("run-aaaa/one")
    for words in (
        "ALTER TABLE source ADD COLUMN m integer",
        "CREATE TABLE t (id serial PRIMARY KEY)",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE FUNCTION two() RETURNS integer LANGUAGE sql AS 'SELECT 2'",
        "CREATE TEMPORARY TABLE brief (n integer)",
        "DROP TABLE source",
    ):
        shop.given(row, found, words)


def test_neither_the_password_nor_the_schema_of_another_helps(shop: Shop) -> None:
    one, found = shop.make("run-aaaa/one")
    other, _ = shop.make("run-aaaa/other", found)
    address = found.address(one, found.place(shop.folder))
    assert query(address.url, {}, "SELECT 1").returncode != 0
    for attack in (address.url.replace(one.name, other.name), address.url.replace(f"{one.name}@", "nobody@")):
        assert query(attack, address.env, "SELECT 1").returncode != 0
    assert Path(address.env["PGPASSFILE"]).stat().st_mode & 0o777 == 0o600
    assert address.env["DATABASE_SCHEMA"] == one.name


def test_what_is_aside_is_out_of_reach_of_a_session_that_was_there(shop: Shop) -> None:
    one, found = shop.make("run-aaaa/one")
    place, address = found.place(shop.folder), found.address(one, found.place(shop.folder))
    words = [str(programs.client("psql")), "-Xq", "-d", address.url, "-c", "SELECT pg_sleep(600)"]
    user = subprocess.Popen(words, env={**os.environ, **address.env}, stderr=subprocess.DEVNULL)
    asked = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{one.name}';"
    while shop.cluster.admin.value(asked) == "0":
        assert user.poll() is None
    with pytest.raises(StrettoError) as used:
        found.provider.freeze(one.name, "stretto_shop_golden", found.provider.found()[one.name], place)
    assert used.value.code == "database_in_use"
    found.set_aside("run-aaaa/one", "task", "r123456", place)
    assert user.wait(20) != 0
    new, _ = shop.make("run-aaaa/one", found)
    assert new.name == one.name
    assert shop.asked(new, found, f"SELECT * FROM {one.name}_qr123456.source").returncode != 0
    found.drop("run-aaaa/one", "task", place)
    found.bring_back("r123456", place)
    assert shop.given(one, found, "SELECT count(*) FROM source") == ["2"]


def test_a_database_in_which_everybody_may_create_is_refused(shop: Shop) -> None:
    shop.cluster.admin.run("GRANT CREATE ON SCHEMA public TO PUBLIC;", database=shop.name)
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one")
    assert refused.value.code == "database_denied"
    assert refused.value.hint == "as its owner: REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    assert shop.all[-1].known() == []
    shop.cluster.admin.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC;", database=shop.name)
    shop.make("run-aaaa/one")


def test_a_user_without_the_rights_is_told_the_next_command(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.cluster.admin.run("CREATE ROLE bob LOGIN PASSWORD 'x'; ALTER ROLE bob CREATEROLE;")
    try:
        url = DatabaseUrl("postgresql", shop.name, "bob", host=str(shop.cluster.folder))
        monkeypatch.setenv("PGPASSWORD", "x")
        with pytest.raises(StrettoError) as refused:
            PostgresSchema(url, shop.folder).check()
        assert refused.value.code == "database_denied"
        assert refused.value.hint == f'as its superuser: GRANT CREATE ON DATABASE "{shop.name}" TO "bob"'
    finally:
        shop.cluster.admin.run("DROP ROLE bob;")


def test_what_belongs_to_others_is_refused_and_undone(shop: Shop) -> None:
    """A table of another schema that one of the source refers to: no task may do that."""
    shop.cluster.run(
        "CREATE SCHEMA extra; CREATE TABLE extra.t (n integer PRIMARY KEY);"
        " CREATE TABLE refers (n integer REFERENCES extra.t);",
        shop.name,
    )
    found = shop.branches()
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one", found)
    assert "could not make all that the schema public holds" in refused.value.message
    assert "extra" in refused.value.message
    assert "it stopped at the table refers" in refused.value.message
    assert "postgres-cluster" in str(refused.value.hint)
    assert (found.known(), found.provider.found()) == ([], {})


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_of_the_person_that_hinders_copies_is_named_with_the_next_step(shop: Shop, kind: str) -> None:
    """One in the source, over the schema of a task: no other task may read there."""
    one, found = shop.make("run-aaaa/one")
    shop.given(
        one, found, f"CREATE TABLE t (n integer); GRANT ALL ON t TO ann; GRANT USAGE ON SCHEMA {one.name} TO ann"
    )
    query = f"SELECT n,\n 'CREATE VIEW public.other AS' AS x FROM {one.name}.t"
    shop.cluster.run(f'CREATE {kind} "My view" AS {query};', shop.name)
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/two", shop.branches())
    assert f'it stopped at the {kind.lower()} "My view": ' in refused.value.message
    hint = str(refused.value.hint)
    assert f'ALTER {kind} "public"."My view" SET SCHEMA OTHER; or use provider' in hint
    shop.cluster.run(f'CREATE SCHEMA other; ALTER {kind} "public"."My view" SET SCHEMA other;', shop.name)
    shop.make("run-aaaa/two", shop.branches())
    shop.cluster.run("DROP SCHEMA other CASCADE;", shop.name)


def test_a_role_of_somebody_else_keeps_its_name_and_password(shop: Shop) -> None:
    found = shop.branches()
    name = found._name("run-aaaa/one", "task")
    shop.cluster.admin.run(f"CREATE ROLE {name} LOGIN PASSWORD 'theirs';")
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one", found)
    assert refused.value.code == "database_taken"
    done = query(shop.cluster.url(name, shop.name).text(), {"PGPASSWORD": "theirs"}, "SELECT 1")
    assert done.stdout == "1\n"
    shop.cluster.admin.run(f"DROP ROLE {name};")


def test_operators_of_an_extension_stay_the_persons(shop: Shop) -> None:
    shop.cluster.admin.run("CREATE EXTENSION vector;", database=shop.name)
    shop.cluster.run("CREATE TABLE spot (at vector(2)); INSERT INTO spot VALUES ('[3,4]');", shop.name)
    row, found = shop.make("run-aaaa/one")
    assert shop.given(row, found, "SELECT at <-> '[0,0]' FROM spot") == ["5"]
    assert shop.given(row, found, "SHOW search_path") == [f"{row.name}, public"]
    assert "extensions stay yours, and their schemas are in the search_path of every task: vector" in found.remarks()


def test_what_is_shared_is_told(shop: Shop) -> None:
    shop.cluster.run(
        "CREATE FUNCTION named() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.source';"
        " CREATE SCHEMA extra; CREATE TABLE extra.t (n integer);",
        shop.name,
    )
    row, found = shop.make("run-aaaa/one")
    told = "\n".join(found.remarks())
    assert "tasks may not use: named" in told
    assert "only public is copied; tasks may not use other schemas: extra" in told
    assert "advisory locks" in told
    assert "extensions stay" not in told
    assert shop.asked(row, found, "SELECT named()").returncode != 0


def test_a_source_of_another_name_and_an_empty_start(shop: Shop) -> None:
    shop.cluster.run(
        'CREATE SCHEMA "My ""App"; CREATE TABLE "My ""App"."T T" (id serial);'
        ' INSERT INTO "My ""App"."T T" DEFAULT VALUES;',
        shop.name,
    )
    shop.cluster.run(f"""ALTER ROLE ann IN DATABASE {shop.name} SET search_path TO 'My "App';""", "postgres")
    row, found = shop.make("run-aaaa/one")
    assert shop.given(row, found, 'INSERT INTO "T T" DEFAULT VALUES RETURNING id') == ["2"]
    shop.cluster.run(f"ALTER ROLE ann IN DATABASE {shop.name} SET search_path TO nowhere;", "postgres")
    empty, _ = shop.make("run-aaaa/two", found, "later")
    assert shop.asked(empty, found, "SELECT FROM source").returncode != 0
    shop.given(empty, found, "CREATE TABLE mine (n integer)")


NEEDED = """
CREATE VIEW mine AS SELECT * FROM {0}.source;
CREATE TABLE keeper (n integer REFERENCES {0}.source (n), m {0}.mood, r {0}.source);
CREATE FUNCTION told({0}.mood) RETURNS integer LANGUAGE sql AS 'SELECT 1';
"""


def test_what_the_person_has_built_on_a_schema_is_not_taken_with_it(shop: Shop) -> None:
    one, found = shop.make("run-aaaa/one")
    place = found.place(shop.folder)
    inside = "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (id serial PRIMARY KEY, m mood, s source, x text);"
    inside += "ALTER TABLE source ADD PRIMARY KEY (n); CREATE VIEW v AS SELECT * FROM t; CREATE INDEX ON t (lower(x))"
    shop.given(one, found, inside)
    shop.given(one, found, f"GRANT ALL ON ALL TABLES IN SCHEMA {one.name} TO ann")
    shop.cluster.run(NEEDED.format(one.name), shop.name)
    found.set_aside("run-aaaa/one", "task", "r1", place)
    for _ in range(2):
        with pytest.raises(StrettoError, match="view mine") as refused:
            found.purge("r1", place)
        assert refused.value.code == "database_needed"
        for each in ("column m of table keeper", "column r of table keeper", "function told", "constraint"):
            assert each in refused.value.message
    assert shop.cluster.run("SELECT count(*) FROM mine;", shop.name) == [["2"]]
    found.bring_back("r1", place)
    assert shop.given(one, found, "SELECT count(*) FROM source") == ["2"]
    found._rows.put(one.name, replace(one, state=DROPPING))
    assert list(found.held_up()) == [one.name]
    assert "view mine" in found.held_up()[one.name]
    shop.cluster.run("DROP VIEW mine; DROP TABLE keeper; DROP FUNCTION told;", shop.name)
    assert found.held_up() == {}
    found.drop("run-aaaa/one", "task", place)
    assert shop.roles() == shop.before


def test_a_template_that_somebody_needs_hinders_no_workspace(shop: Shop) -> None:
    _, found = shop.make("run-aaaa/t0", start="s0")
    place = found.place(shop.folder)
    found.settled("run-aaaa/t0", "task", place, "s0")
    oldest = found.templates()[0].name
    shop.cluster.run(f"CREATE SCHEMA other; CREATE VIEW other.mine AS SELECT * FROM {oldest}.source;", shop.name)
    for n in range(1, 4):
        shop.make(f"run-aaaa/t{n}", found, f"s{n}")
        found.settled(f"run-aaaa/t{n}", "task", place, f"s{n}")
    assert (list(found.held_up()), len(found.templates())) == ([oldest], 3)
    assert shop.cluster.run("SELECT count(*) FROM other.mine;", shop.name) == [["2"]]
    shop.cluster.run("DROP VIEW other.mine;", shop.name)
    shop.make("run-aaaa/last", found)
    assert oldest not in found.provider.found()


def test_no_name_in_a_database_becomes_a_command(shop: Shop) -> None:
    """Names with line breaks, quotes and backslashes, as somebody would choose them who wants psql to obey."""
    loot = shop.folder / "loot"
    evil = f'x\n\\! touch {loot}\n"" ; DROP TABLE public.source; --'
    shop.cluster.run(
        f"""CREATE TABLE "{evil}" (n integer); COMMENT ON TABLE "{evil}" IS E'\\n\\\\! touch {loot}\\n\\\\.\\n';"""
        f"""INSERT INTO "{evil}" VALUES (1); ALTER TABLE source ADD t text DEFAULT E'\\n\\\\.\\n\\\\! touch {loot}';""",
        shop.name,
    )
    row, found = shop.make("run-aaaa/one")
    assert shop.given(row, found, f'SELECT n FROM "{evil}"') == ["1"]
    assert shop.given(row, found, "SELECT count(*) FROM source") == ["2"]
    assert not loot.exists()
    assert shop.cluster.run("SELECT count(*) FROM source;", shop.name) == [["2"]]


def test_only_the_schema_before_what_is_copied_is_renamed() -> None:
    given = """\
\\restrict abc
-- Name: x; Schema: app
SET statement_timeout = 0;
SET client_encoding = 'UTF8';
CREATE SCHEMA app;
COMMENT ON SCHEMA app IS 'x; y';
CREATE VIEW app.v AS
 SELECT app.lamp.id, t.app, app.other, 'app.lamp'::text AS a, 'app.lamp'::regclass AS b,
 app."La""mp"
   FROM app.lamp, (app.lamp t) WHERE x.app.lamp OPERATOR(app.===) app.citext;
CREATE FUNCTION app.f() RETURNS text LANGUAGE sql
    SET search_path TO 'app', 'pg_temp'
    SET role TO 'app'
    AS $_$ app.lamp; 'app.lamp' $$ $_$;
SELECT pg_catalog.setval('app.lamp', 1, true);
COPY app.lamp (id) FROM stdin;
app.lamp;'
\\.

\\unrestrict abc
"""
    own = {"v", "lamp", 'La"mp', "f", "==="}
    said = "".join(renamed(given.splitlines(keepends=True), "app", "new", own))
    assert said.splitlines() == [
        "SET client_encoding = 'UTF8';",
        'CREATE VIEW "new".v AS',
        " SELECT \"new\".lamp.id, t.app, app.other, 'app.lamp'::text AS a, '\"new\".lamp'::regclass AS b,",
        ' "new"."La""mp"',
        '   FROM "new".lamp, ("new".lamp t) WHERE x.app.lamp OPERATOR("new".===) app.citext;',
        'CREATE FUNCTION "new".f() RETURNS text LANGUAGE sql',
        "    SET search_path TO \"new\", 'pg_temp'",
        "    SET role TO 'app'",
        "    AS $_$ app.lamp; 'app.lamp' $$ $_$;",
        "SELECT pg_catalog.setval('\"new\".lamp', 1, true);",
        'COPY "new".lamp (id) FROM stdin;',
        "app.lamp;'",
        "\\.",
    ]


@pytest.mark.parametrize(
    "text", ["SELECT 1;\n\\! true\n", "SELECT 1", "COPY t FROM stdin;\n1\n", "/* x */ SELECT 1;\n"]
)
def test_what_pg_dump_does_not_write_is_refused(text: str) -> None:
    with pytest.raises(StrettoError) as refused:
        list(renamed(text.splitlines(keepends=True), "app", "new", set()))
    assert refused.value.code == "database_failed"


def test_the_copy_before_a_migration_of_the_persons_own_leaves_the_tasks_out(shop: Shop, tmp_path: Path) -> None:
    """Who brings it back must not bring back, or clean away, what tasks have made meanwhile."""
    row, found = shop.make("run-aaaa/one")
    url = found.settings.url
    assert url is not None
    kept = own.keep(url, tmp_path / "kept", "now")
    assert kept.path is not None
    listed = subprocess.run(
        [str(programs.client("pg_restore")), "-l", str(kept.path)], capture_output=True, text=True, check=True
    )
    assert "source" in listed.stdout
    assert row.name not in listed.stdout


def test_a_long_text_is_not_read_again_for_each_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "".join(f"  x{n} := 'it''s';\n" for n in range(3000))
    columns = ",\n".join(f"t.c{n}" for n in range(3000))
    text = f"CREATE FUNCTION old.f() RETURNS void AS $_$\n{body}$_$;\nCREATE VIEW old.v AS SELECT {columns};\n"
    read = schema_dump._read
    seen: list[int] = []

    def counted(part: str, found: list[Any]) -> str:
        seen.append(len(part))
        return read(part, found)

    monkeypatch.setattr(schema_dump, "_read", counted)
    said = "".join(schema_dump.renamed(text.splitlines(keepends=True), "old", "new", {"f", "v"}))
    assert said == text.replace("old.", '"new".')
    assert sum(seen) < 2 * len(text)
