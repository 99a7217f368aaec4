-- Lists leave notices out unless they are asked for: the kind is looked at in the index, without the row. All are made anew
-- in the order of 0004, since the planner takes the younger one on a tie.
DROP INDEX settled_by_id, settled_by_status, settled_by_kind, settled_by_resource, settled_by_project;
CREATE INDEX settled_by_status ON settled (status, organization_id, seq) INCLUDE (kind);
CREATE INDEX settled_by_kind ON settled (kind, status, organization_id, seq);
CREATE INDEX settled_by_resource ON settled (resource_id, resource_type, organization_id, seq) INCLUDE (kind)
    WHERE resource_type <> '';
CREATE INDEX settled_by_project ON settled (project_id, status, organization_id, seq) INCLUDE (kind) WHERE project_id <> '';
CREATE UNIQUE INDEX settled_by_id ON settled (id, organization_id);

-- What only the servers of this store know. `feed` hides places in the feed of changes, whose numbers would tell an
-- organisation how much the others do. A UUID of version 4 has 122 random bits.
CREATE TABLE secrets (
    name  text  NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);
INSERT INTO secrets (name, value)
VALUES ('feed', uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
