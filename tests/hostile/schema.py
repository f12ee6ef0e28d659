"""Whether a schema is as it should be: a dump says it, a hash of the catalogue when to ask."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field

from lab.postgres import PASSWORD, Postgres

# All that a dump of the schema can show, without the object ids that a rewrite changes.
_CATALOGUE = """
WITH r AS (
    SELECT * FROM pg_class WHERE relnamespace IN (
        SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
), line(object) AS (
    SELECT jsonb_build_array(
        'relation', oid::regclass, relkind, relpersistence, relowner::regrole, reloptions, relacl,
        relrowsecurity, relforcerowsecurity, relreplident, relam, reltablespace,
        relispartition) FROM r
    UNION ALL SELECT jsonb_build_array(
        'column', a.attrelid::regclass, a.attname,
        row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attcompression,
        a.attstattarget, a.attoptions, a.attacl, a.attcollation::regcollation, a.attidentity,
        a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
    FROM r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind <> 'i' OR a.attstattarget >= 0
    UNION ALL SELECT jsonb_build_array(
        'constraint', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid IN (SELECT oid FROM r)
    UNION ALL SELECT jsonb_build_array(
        'index', indrelid::regclass, pg_get_indexdef(indexrelid), indisvalid, indisclustered,
        indisreplident)
    FROM pg_index WHERE indrelid IN (SELECT oid FROM r)
    UNION ALL SELECT jsonb_build_array(
        'trigger', tgrelid::regclass, pg_get_triggerdef(oid), tgenabled)
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT jsonb_build_array(
        'rule', ev_class::regclass, pg_get_ruledef(oid), ev_enabled)
    FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM r)
    UNION ALL SELECT jsonb_build_array(
        'policy', polrelid::regclass, polname, polcmd, polpermissive, polroles::regrole[],
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
    UNION ALL SELECT jsonb_build_array(
        'function', pg_get_functiondef(oid), proowner::regrole, proacl)
    FROM pg_proc WHERE oid >= 16384 AND prokind IN ('f', 'p')
    UNION ALL SELECT jsonb_build_array(
        'statistics', pg_get_statisticsobjdef(oid), stxowner::regrole, stxstattarget)
    FROM pg_statistic_ext
    UNION ALL SELECT to_jsonb(p) - 'oid' FROM pg_publication p
    UNION ALL SELECT jsonb_build_array(
        'published', p.pubname, t.prrelid::regclass, to_jsonb(t) - '{oid,prpubid,prrelid}'::text[])
    FROM pg_publication_rel t JOIN pg_publication p ON p.oid = t.prpubid
    UNION ALL SELECT jsonb_build_array(
        'type', t.oid::regtype, t.typtype, t.typowner::regrole, t.typacl,
        (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
         WHERE e.enumtypid = t.oid))
    FROM pg_type t WHERE t.oid >= 16384 AND t.typrelid = 0 AND t.typelem = 0
    UNION ALL SELECT to_jsonb(s) - 'seqrelid' || jsonb_build_object('of', s.seqrelid::regclass)
    FROM pg_sequence s
    UNION ALL SELECT jsonb_build_array('inherits', inhrelid::regclass, inhparent::regclass)
    FROM pg_inherits
    UNION ALL SELECT jsonb_build_array('extension', extname, extversion) FROM pg_extension
    UNION ALL SELECT to_jsonb(n) - 'oid' FROM pg_namespace n WHERE nspname !~ '^pg_'
    UNION ALL SELECT to_jsonb(e) - 'oid' FROM pg_event_trigger e
    UNION ALL SELECT to_jsonb(d) - 'oid' FROM pg_default_acl d
    UNION ALL SELECT jsonb_build_array(
        'comment', pg_describe_object(classoid, objoid, objsubid), description)
    FROM pg_description WHERE objoid >= 16384
)
SELECT md5(string_agg(object::text, E'\\n' ORDER BY object::text)) FROM line
"""


@dataclass
class Schemas:
    """The schemas that are right, each by the statements that make it of the untouched one.

    Attributes:
        dumps: the lines of a dump of each.
        hashes: of catalogues whose dump was compared and was the right one.
    """

    cluster: Postgres
    dumps: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    hashes: dict[tuple[str, ...], set[str]] = field(default_factory=dict)

    def learn(self, statements: tuple[str, ...], name: str) -> None:
        """Take a database that nobody else was in for what some statements make.

        Raises:
            AssertionError: its dump is another schema's, its hash is not.
        """
        found, lines = self.hash_of(name), self.dump(name)
        for others, hashes in self.hashes.items():
            same = lines == self.dumps[others]
            assert same or found not in hashes, f"the hash does not see {statements} or {others}"
        self.dumps[statements] = lines
        self.hashes[statements] = {found}

    def differs(self, statements: tuple[str, ...], name: str) -> str | None:
        """Say what of a database's schema is not as the statements make it."""
        found = self.hash_of(name)
        if found in self.hashes[statements]:
            return None
        expected, lines = self.dumps[statements], self.dump(name)
        if expected == lines:
            self.hashes[statements].add(found)
            return None
        lost = [line for line in expected if line not in lines]
        added = [line for line in lines if line not in expected]
        return f"the schema differs: without {lost[:3]}, with {added[:3]}"

    def hash_of(self, name: str) -> str:
        """Return a hash of a database's catalogue."""
        return str(self.cluster.execute(_CATALOGUE, name)[0][0])

    def dump(self, name: str) -> list[str]:
        """Return the lines of a dump of the schema, in an order that object ids do not change."""
        done = subprocess.run(
            [self.cluster.program("pg_dump"), "-s", "-h", "127.0.0.1",
             "-p", str(self.cluster.port), "-U", "postgres", name],
            env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        # Newer versions put a random word around the dump.
        return sorted(line for line in done.stdout.splitlines() if "restrict " not in line)
