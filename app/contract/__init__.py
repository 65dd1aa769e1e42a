"""What producers and consumers rely on: AsyncAPI, JSON Schemas, a page per public topic, and what a change may not do."""
