-- What CREATE EXTENSION makes: the schema eb is a member, so it goes with the
-- extension, and everything in it that a person may call says what it does.

-- The schema belongs to the extension.
SELECT e.extname, d.deptype
FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
WHERE d.classid = 'pg_namespace'::regclass AND d.objid = 'eb'::regnamespace;

-- No function or procedure without a comment.
SELECT p.oid::regprocedure AS no_comment
FROM pg_proc p
WHERE p.pronamespace = 'eb'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
ORDER BY 1::text;

-- Every function in SQL or PL/pgSQL pins its search_path, or was bound at creation.
SELECT p.oid::regprocedure AS search_path_open
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'eb'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
  AND p.prokind <> 'p' AND p.prosqlbody IS NULL
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
ORDER BY 1::text;

-- The version that was installed.
SELECT extversion FROM pg_extension WHERE extname = 'pg_eventbus';
