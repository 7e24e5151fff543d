"""The longer statements that the PostgreSQL providers run. What varies in them is a psql variable or a name of ours."""

from __future__ import annotations

from stretto.workspace.databases.psql import identifier

RIGHTS = "SELECT rolsuper OR (rolcreatedb AND rolcreaterole) FROM pg_roles WHERE rolname = current_user;"
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = :'name';"
ROLE_COMMENT = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = :'name';"
OURS = (
    "SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database"
    " WHERE datname LIKE 'stretto\\_%' ORDER BY datname;"
)
ROLE = "SELECT 'there', coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = :'name';"
#: whether a role does more than own things
MORE_THAN_OWNS = (
    "SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    " OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) FROM pg_roles r WHERE rolname = :'name';"
)
#: who may do more than a task, the asking role first
MIGHTY = (
    "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname NOT LIKE 'stretto\\_%'"
    " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolname = current_user)"
    " ORDER BY rolname <> current_user, rolsuper DESC, rolname LIMIT 12;"
)
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :'name' AND pid <> pg_backend_pid();"
)

#: what the namespaces `n` are made of, in an order that does not depend on how it came about
_HASH = """\
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT format('column %s.%s.%s %s %s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {which}
  UNION ALL
  SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(k.oid)) FROM pg_constraint k
  JOIN pg_namespace n ON n.oid = k.connamespace WHERE conrelid <> 0 AND {which}
  UNION ALL
  SELECT indexdef FROM pg_indexes i JOIN pg_namespace n ON n.nspname = i.schemaname WHERE {which}
  UNION ALL
  SELECT format('function %s %s', p.oid::regprocedure, md5(p.prosrc)) FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {which}
  UNION ALL
  SELECT format('enum %s %s', enumtypid::regtype, string_agg(enumlabel, ',' ORDER BY enumsortorder))
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE {which} GROUP BY enumtypid
) AS lines;
"""
_OWN = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'"
#: of a whole database, and of its schema `:'schema'`
SCHEMA_HASH = _HASH.replace("{which}", _OWN)
ONE_SCHEMA_HASH = _HASH.replace("{which}", "n.nspname = :'schema'")


def role_if_missing(name: str, rights: str) -> str:
    """A statement that makes a role of ours unless it is there."""
    made = f"CREATE ROLE {identifier(name)} {rights}"
    return (
        "DO $$ BEGIN "
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN {made}; END IF; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


def hand_over(role: str) -> str:
    """Give every object that is neither the system's nor an extension's to a role; gives the names of those refused."""
    return _HAND_OVER.replace("{owner}", identifier(role)).replace("{role}", role)


_HAND_OVER = """\
CREATE TEMPORARY TABLE stretto_refused (what text);
DO $$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT rank, kind, what FROM (
      SELECT 1 AS rank, 'SCHEMA' AS kind, format('%I', n.nspname) AS what, n.oid, 'pg_namespace'::regclass AS class
      FROM pg_namespace n
      WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND n.nspowner <> '{role}'::regrole
      UNION ALL
      SELECT 2, 'TABLE', format('%I.%I', n.nspname, c.relname), c.oid, 'pg_class'::regclass
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relowner <> '{role}'::regrole
        AND c.relpersistence <> 't'
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
      UNION ALL
      SELECT 3, 'ROUTINE', p.oid::regprocedure::text, p.oid, 'pg_proc'::regclass
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.proowner <> '{role}'::regrole
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      UNION ALL
      SELECT 4, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, format('%I.%I', n.nspname, t.typname), t.oid,
             'pg_type'::regclass
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.typowner <> '{role}'::regrole
        AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    ) AS found
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = found.class AND d.objid = found.oid AND d.deptype = 'e')
    ORDER BY rank
  LOOP
    BEGIN
      EXECUTE format('ALTER %s %s OWNER TO {owner}', one.kind, one.what);
    EXCEPTION WHEN insufficient_privilege THEN
      IF one.kind <> 'SCHEMA' OR one.what <> 'public' THEN
        INSERT INTO pg_temp.stretto_refused VALUES (one.what);
      END IF;
    END;
  END LOOP;
END $$;
SELECT what FROM pg_temp.stretto_refused ORDER BY what;
"""
