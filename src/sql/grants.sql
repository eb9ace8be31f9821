-- Privileges: PUBLIC may use the schema and call what checks privileges
-- itself (by the views of buses and queues); everything else is the owner's
-- to grant.  This file runs last and sees every object of the extension.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eb FROM PUBLIC;
GRANT USAGE ON SCHEMA eb TO PUBLIC;
