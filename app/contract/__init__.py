"""What others rely on: an AsyncAPI document, JSON Schemas, a page per public topic, and what a change may not do."""
