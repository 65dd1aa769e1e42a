-- 0013 delivery route
-- when: before the new code
--
-- Where a claimed send was handed over, as a hash: what became of it can be asked there only. A channel that leads
-- elsewhere by then knows nothing of it, and its "not here" must not be taken for "never sent".

ALTER TABLE delivery ADD COLUMN route_sha256 text;
