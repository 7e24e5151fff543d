"""The statements of the provider that gives every task a schema. What varies in them is a psql variable."""

from __future__ import annotations

#: whether the user may make roles, and schemas in this database
RIGHTS = (
    "SELECT rolsuper OR rolcreaterole, has_database_privilege(current_database(), 'CREATE')"
    " FROM pg_roles WHERE rolname = current_user;"
)
#: schemas in which everybody may leave something for everybody else to stumble over
OPEN = (
    "SELECT quote_ident(nspname) FROM pg_namespace WHERE has_schema_privilege('public', oid, 'CREATE')"
    " AND nspname NOT LIKE 'pg\\_%' ORDER BY 1;"
)
COMMENT = (
    "SELECT 'there', coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :'name';"
)
OURS = (
    "SELECT nspname, coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace"
    " WHERE nspname LIKE 'stretto\\_%' ORDER BY nspname;"
)
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = :'name';"
END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :'name';"
#: schemas of extensions: without them in its search_path a task would get other operators than the person, silently
EXTENSIONS = (
    "SELECT coalesce(string_agg(DISTINCT quote_ident(n.nspname), ', '), '') FROM pg_extension e"
    " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname <> 'pg_catalog';"
)
#: names of what pg_dump copies of the schema `:'schema'`, in hex: a name may hold anything
OWN_NAMES = """\
SELECT DISTINCT encode(convert_to(name::text, 'UTF8'), 'hex') FROM (
  SELECT relname AS name, oid, 'pg_class'::regclass AS class, relnamespace AS space FROM pg_class
  UNION ALL SELECT typname, oid, 'pg_type'::regclass, typnamespace FROM pg_type WHERE typrelid = 0
  UNION ALL SELECT proname, oid, 'pg_proc'::regclass, pronamespace FROM pg_proc
  UNION ALL SELECT oprname, oid, 'pg_operator'::regclass, oprnamespace FROM pg_operator
  UNION ALL SELECT opcname, oid, 'pg_opclass'::regclass, opcnamespace FROM pg_opclass
  UNION ALL SELECT opfname, oid, 'pg_opfamily'::regclass, opfnamespace FROM pg_opfamily
  UNION ALL SELECT collname, oid, 'pg_collation'::regclass, collnamespace FROM pg_collation
  UNION ALL SELECT conname, oid, 'pg_conversion'::regclass, connamespace FROM pg_conversion
  UNION ALL SELECT cfgname, oid, 'pg_ts_config'::regclass, cfgnamespace FROM pg_ts_config
  UNION ALL SELECT dictname, oid, 'pg_ts_dict'::regclass, dictnamespace FROM pg_ts_dict
  UNION ALL SELECT stxname, oid, 'pg_statistic_ext'::regclass, stxnamespace FROM pg_statistic_ext
) AS found
WHERE space = (SELECT oid FROM pg_namespace WHERE nspname = :'schema')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = found.oid AND d.deptype = 'e');
"""
#: what will not be as in a database of its own: which kind, how many, which
SHARED = """\
SELECT 'bodies', count(*), string_agg(DISTINCT p.proname, ', ') FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = :'schema' AND position(:'schema' || '.' IN p.prosrc) > 0
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'extensions', count(*), string_agg(extname, ', ' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL
SELECT 'schemas', count(*), string_agg(n.nspname, ', ' ORDER BY n.nspname) FROM pg_namespace n
WHERE n.nspname NOT IN (:'schema', 'information_schema') AND n.nspname !~ '^(pg|stretto)_'
  AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm'));
"""
#: what is elsewhere and would go with the schema `:'name'`; an extension in it, too
NEEDING = """\
WITH RECURSIVE space AS (SELECT oid FROM pg_namespace WHERE nspname = :'name'), ours (class, oid) AS (
  SELECT 'pg_namespace'::regclass::oid, oid FROM space
  UNION SELECT classid, objid FROM pg_depend
  WHERE refclassid = 'pg_namespace'::regclass AND refobjid = (SELECT oid FROM space)
    AND classid <> 'pg_extension'::regclass
  UNION SELECT d.classid, d.objid FROM ours o JOIN pg_depend d ON d.refclassid = o.class AND d.refobjid = o.oid
  WHERE d.deptype = 'i'
), found AS (
  SELECT d.classid, d.objid, d.objsubid FROM ours o JOIN pg_depend d ON d.refclassid = o.class AND d.refobjid = o.oid
  WHERE d.deptype IN ('n', 'a') AND (d.classid, d.objid) NOT IN (SELECT class, oid FROM ours)
    AND d.classid NOT IN ('pg_cast'::regclass, 'pg_default_acl'::regclass, 'pg_amop'::regclass, 'pg_amproc'::regclass)
)
SELECT DISTINCT CASE classid
  WHEN 'pg_rewrite'::regclass THEN
    (SELECT pg_describe_object('pg_class'::regclass, ev_class, 0) FROM pg_rewrite WHERE oid = objid)
  ELSE pg_describe_object(classid, objid, objsubid) END
FROM found WHERE coalesce(CASE classid
  WHEN 'pg_type'::regclass THEN
    (SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = objid)
  WHEN 'pg_constraint'::regclass THEN
    (SELECT n.nspname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE c.oid = objid)
  ELSE (SELECT a.object_names[1] FROM pg_identify_object_as_address(classid, objid, objsubid) a) END, '')
  NOT IN (:'name', 'pg_toast')
ORDER BY 1;
"""
