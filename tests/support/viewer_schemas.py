"""What the files of the two viewers must look like, written down from their public definitions.

`NEURONPEDIA`: the required keys and the types of ``apps/webapp/app/api/graph/graph-schema.json``
(title "Anthropic Attribution Graph", draft 7) of https://github.com/hijohnnylin/neuronpedia.
`CIRCUIT_TRACER`: the pydantic models Metadata, QParams, Node and Model of
``circuit_tracer/frontend/graph_models.py`` of https://github.com/decoderesearch/circuit-tracer,
fields without a default required."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
WHOLE: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
NUMBER_OR_NULL: dict[str, Any] = {"type": ["number", "null"]}


def record(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


LINK = record({"source": TEXT, "target": TEXT, "weight": NUMBER})

NEURONPEDIA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **record(
        {
            "metadata": record(
                {
                    "slug": TEXT,
                    "scan": TEXT,
                    "prompt_tokens": TEXTS,
                    "prompt": TEXT,
                    "node_threshold": NUMBER,
                    "feature_details": record(
                        {"feature_json_base_url": TEXT, "neuronpedia_source_set": TEXT},
                        ("feature_json_base_url", "neuronpedia_source_set"),
                    ),
                    "info": record(
                        {
                            "description": TEXT,
                            "creator_name": TEXT,
                            "creator_url": TEXT,
                            "source_urls": {"type": "array"},
                            "create_time_ms": NUMBER,
                            "generator": record(
                                {"name": TEXT, "version": TEXT, "url": TEXT, "email": TEXT},
                                ("name", "version", "url", "email"),
                            ),
                        },
                        (
                            "description",
                            "creator_name",
                            "creator_url",
                            "source_urls",
                            "create_time_ms",
                            "generator",
                        ),
                    ),
                    "generation_settings": record(
                        {
                            "max_n_logits": WHOLE,
                            "desired_logit_prob": NUMBER,
                            "batch_size": WHOLE,
                            "max_feature_nodes": WHOLE,
                        },
                        ("max_n_logits", "desired_logit_prob", "batch_size", "max_feature_nodes"),
                    ),
                    "pruning_settings": record(
                        {"node_threshold": NUMBER, "edge_threshold": NUMBER},
                        ("node_threshold", "edge_threshold"),
                    ),
                },
                (
                    "node_threshold",
                    "feature_details",
                    "info",
                    "generation_settings",
                    "pruning_settings",
                ),
            ),
            "qParams": record(
                {
                    "pinnedIds": TEXTS,
                    "supernodes": {"type": "array"},
                    "linkType": TEXT,
                    "clickedId": TEXT,
                    "sg_pos": TEXT,
                },
                ("pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"),
            ),
            "nodes": listed(
                record(
                    {
                        "node_id": TEXT,
                        "feature": {"type": ["integer", "null"]},
                        "layer": {"type": ["string", "integer"]},
                        "ctx_idx": WHOLE,
                        "feature_type": TEXT,
                        "jsNodeId": TEXT,
                        "clerp": TEXT,
                        "influence": NUMBER_OR_NULL,
                        "activation": NUMBER_OR_NULL,
                    },
                    ("influence", "activation"),
                )
            ),
            "links": listed(LINK),
        }
    ),
}

CIRCUIT_TRACER = record(
    {
        "metadata": record(
            {
                "slug": TEXT,
                "scan": TEXT,
                "transcoder_list": TEXTS,
                "prompt_tokens": TEXTS,
                "prompt": TEXT,
                "node_threshold": NUMBER_OR_NULL,
                "schema_version": {"type": ["integer", "null"]},
            },
            ("node_threshold", "schema_version"),
        ),
        "qParams": record(
            {
                "pinnedIds": TEXTS,
                "supernodes": listed(TEXTS),
                "linkType": TEXT,
                "clickedId": TEXT,
                "sg_pos": TEXT,
            }
        ),
        "nodes": listed(
            record(
                {
                    "node_id": TEXT,
                    "feature": WHOLE,
                    "layer": TEXT,
                    "ctx_idx": WHOLE,
                    "feature_type": TEXT,
                    "token_prob": NUMBER,
                    "is_target_logit": {"type": "boolean"},
                    "run_idx": WHOLE,
                    "reverse_ctx_idx": WHOLE,
                    "jsNodeId": TEXT,
                    "clerp": TEXT,
                    "influence": NUMBER_OR_NULL,
                    "activation": NUMBER_OR_NULL,
                },
                (
                    "token_prob",
                    "is_target_logit",
                    "run_idx",
                    "reverse_ctx_idx",
                    "clerp",
                    "influence",
                    "activation",
                ),
            )
        ),
        "links": listed(LINK),
    }
)
