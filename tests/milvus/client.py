"""A Milvus client for the tests: fills Milvus 2.1.0 and prints what a client sees on any release.

Usage: client.py PORT fill [COLLECTION] | describe | work RELEASE | add | seal | compact | rename |
    fields COLLECTION | search COLLECTION

The collections are the same each time. `describe` prints one JSON document. Requests that have no
common form in the clients of 2.1 to 2.3 are sent through the client's own connection.
"""
import hashlib
import json
import logging
import sys
import time

import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, utility
from pymilvus.grpc_gen import milvus_pb2 as messages

DIM = 16
BITS = 64
# 2.1.0 builds indexes for segments of 1,024 rows or more.
INDEXED = 1300
SMALL = 300
# More rows than the data node of 2.1.0 buffers with the settings of these tests.
MANY = 2000
# On a busy machine a release may take minutes to load what 2.1 had loaded.
DEADLINE = 240
# Large enough that results do not depend on whether the index of a segment is built already.
SEARCH_PARAMS = {"nprobe": 16, "ef": 1000}
HITS = 10


def until(what, check, deadline=DEADLINE):
    """Returns the first true result of `check`; exceptions are retried."""
    end = time.monotonic() + deadline
    while True:
        try:
            answer, error = check(), None
        except Exception as caught:  # what a server raises while it starts differs from release to release
            answer, error = None, caught
        if answer:
            return answer
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not happen within {deadline} s: {error}")
        time.sleep(0.2)


# Data. Each collection has its own seed, so its rows do not depend on the order of creation.


def floats(name, count):
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).random((count, DIM), dtype=np.float32).tolist()


def bits(name, count):
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    rows = np.random.default_rng(seed).integers(0, 256, (count, BITS // 8), dtype=np.uint8)
    return [row.tobytes() for row in rows]


# 2.1.0: all kinds of objects that a migration carries over.


def create(name, fields, *, shards=1, auto_id=False, description=""):
    key = FieldSchema("id", DataType.INT64, is_primary=True, auto_id=auto_id, description="primary key")
    schema = CollectionSchema([key, *fields], description=description)
    return Collection(name, schema, shards_num=shards)


def vector():
    return FieldSchema("v", DataType.FLOAT_VECTOR, dim=DIM)


def index(collection, field, kind, metric, **params):
    name = params.pop("index_name", None)
    given = {"index_type": kind, "metric_type": metric, "params": params} if kind else {}
    collection.create_index(field, given, **({"index_name": name} if name else {}))


def flush(name):
    handler().flush([name])


def row_count(name):
    statistics = stub().GetCollectionStatistics(messages.GetCollectionStatisticsRequest(collection_name=name))
    return int(pairs(statistics.stats)["row_count"])


def flush_all(name, rows):
    """Flushes a collection and waits until all its rows are counted."""
    flush(name)
    until(f"a count of {rows} rows in {name}", lambda: row_count(name) == rows)


def articles():
    fields = [FieldSchema("title", DataType.VARCHAR, max_length=64), FieldSchema("year", DataType.INT64), vector()]
    collection = create("articles", fields, shards=2, description="news, naïve and otherwise 新闻")
    first = 0
    for partition, count in (("y2021", 2 * INDEXED), ("y2022", SMALL)):
        collection.create_partition(partition, description=f"partition {partition}")
        ids = list(range(first, first + count))
        rows = [ids, [f"title {i:05}" for i in ids], [2000 + i % 23 for i in ids], floats(partition, count)]
        collection.insert(rows, partition_name=partition)
        first += count
    flush("articles")
    index(collection, "v", "IVF_FLAT", "L2", nlist=16)
    index(collection, "title", None, None, index_name="by_title")
    index(collection, "year", None, None, index_name="by_year")
    utility.create_alias("articles", "news")
    utility.create_alias("articles", "newspaper")
    collection.delete(f"id in {list(range(0, 50))}")
    collection.load()


def pictures():
    collection = create("pictures", [vector()], auto_id=True)
    for partition in ("shown", "hidden"):
        collection.create_partition(partition)
        collection.insert([floats(partition, INDEXED)], partition_name=partition)
    flush("pictures")
    index(collection, "v", "HNSW", "IP", M=8, efConstruction=64, index_name="pictures_hnsw")
    collection.load(["shown"])


def codes():
    collection = create("codes", [vector()])
    collection.insert([list(range(INDEXED)), floats("codes", INDEXED)])
    flush("codes")
    index(collection, "v", "IVF_PQ", "L2", nlist=16, m=4, nbits=8)
    collection.load()


def archive():
    """Not loaded: 2.1.0 returns rows of dropped partitions, so its results cannot be compared."""
    collection = create("archive", [FieldSchema("year", DataType.INT64), vector()])
    collection.create_partition("gone")
    first = 0
    for partition, count in (("_default", INDEXED), ("gone", SMALL)):
        ids = list(range(first, first + count))
        collection.insert([ids, [2000 + i % 23 for i in ids], floats(partition, count)], partition_name=partition)
        first += count
    flush("archive")
    collection.drop_partition("gone")
    index(collection, "v", "IVF_FLAT", "L2", nlist=16)
    index(collection, "year", None, None, index_name="by_year")


def binaries():
    for name, kind, metric, params in (
        ("bits", "BIN_IVF_FLAT", "JACCARD", {"nlist": 16}),
        ("fingerprints", "BIN_FLAT", "HAMMING", {}),
    ):
        collection = create(name, [FieldSchema("v", DataType.BINARY_VECTOR, dim=BITS)])
        collection.insert([list(range(INDEXED)), bits(name, INDEXED)])
        flush(name)
        index(collection, "v", kind, metric, **params)
        collection.load()


def measures():
    """Scalar indexes on each supported type; those of 2.1.0 on small types crash later releases."""
    types = [
        ("tiny", DataType.INT8, np.int8, 100),
        ("short", DataType.INT16, np.int16, 1000),
        ("int", DataType.INT32, np.int32, 1000),
        ("long", DataType.INT64, int, 1000),
        ("single", DataType.FLOAT, np.float32, 1000),
        ("double", DataType.DOUBLE, float, 1000),
        ("flag", DataType.BOOL, bool, 2),
    ]
    collection = create("measures", [*(FieldSchema(name, kind) for name, kind, _, _ in types), vector()])
    columns = [[convert(i % modulus) for i in range(INDEXED)] for _, _, convert, modulus in types]
    collection.insert([list(range(INDEXED)), *columns, floats("measures", INDEXED)])
    flush("measures")
    index(collection, "v", "HNSW", "L2", M=8, efConstruction=64)
    for name, *_ in types:
        index(collection, name, None, None, index_name=f"by_{name}")
    collection.load()


def compacted():
    """Segments compacted by 2.1.0, whose binlogs have no row counts."""
    collection = create("compacted", [vector()])
    for part in range(3):
        first = part * 600
        collection.insert([list(range(first, first + 600)), floats(f"compacted {part}", 600)])
        flush("compacted")
    collection.delete(f"id in {list(range(100, 400))}")
    flush("compacted")
    collection.compact()
    until("the compaction", lambda: collection.get_compaction_state().state.name == "Completed")
    index(collection, "v", "IVF_SQ8", "L2", nlist=16)
    collection.load()


def small_ones():
    growing = create("growing", [vector()])
    index(growing, "v", "HNSW", "L2", M=8, efConstruction=64)
    # The segment is growing, but has binlogs. The last rows are only in the queue.
    for first, count in ((0, MANY), (MANY, SMALL)):
        growing.insert([list(range(first, first + count)), floats(f"growing {first}", count)])
    growing.load()
    empty = create("empty", [vector()])
    index(empty, "v", "HNSW", "L2", M=8, efConstruction=64)
    empty.load()
    bare = create("bare", [vector()])
    bare.insert([list(range(SMALL)), floats("bare", SMALL)])
    flush("bare")
    bare.load()
    create("draft", [vector()], description="nothing yet").insert([[1], floats("draft", 1)])
    old = create("old", [vector()])
    old.insert([list(range(INDEXED)), floats("old", INDEXED)])
    flush("old")
    index(old, "v", "IVF_FLAT", "L2", nlist=16)
    utility.create_alias("old", "older")
    utility.drop_alias("older")
    old.drop()


def fill(only=None):
    for make in (articles, pictures, codes, archive, binaries, measures, compacted, small_ones):
        if only in (None, make.__name__):
            make()
    for name in utility.list_collections():
        until(f"the indexes of {name}", lambda: all(index_is_built(name, item.field_name) for item in Collection(name).indexes))


def index_of(collection, field):
    return next(item for item in index_descriptions(collection) if item.field_name == field)


def index_is_built(collection, field):
    name = index_of(collection, field).index_name
    request = messages.GetIndexStateRequest(collection_name=collection, field_name=field, index_name=name)
    return stub().GetIndexState(request).state == 3


# The results that a client sees.


def handler():
    return connections._fetch_handler("default")


def stub():
    return handler()._stub


def index_descriptions(collection):
    response = stub().DescribeIndex(messages.DescribeIndexRequest(collection_name=collection))
    return sorted(response.index_descriptions, key=lambda item: item.field_name)


def pairs(items):
    return {item.key: item.value for item in items}


def describe_index(item, scalar):
    params = pairs(item.params)
    shown = {"field": item.field_name, "name": item.index_name}
    # Only some releases show the type of a scalar index that was created without one.
    if not scalar:
        shown["type"], shown["metric"] = params["index_type"], params["metric_type"]
        shown["params"] = json.loads(params.get("params", "{}"))
    return shown


def loaded(collection=None):
    """Returns the loaded collections, or the loaded partitions of one."""
    if collection is None:
        response = stub().ShowCollections(messages.ShowCollectionsRequest(type=1))
        names = response.collection_names
    else:
        response = stub().ShowPartitions(messages.ShowPartitionsRequest(collection_name=collection, type=1))
        names = response.partition_names
    return {name: done for name, done in zip(names, response.inMemory_percentages)}


def describe_collection(name):
    answer = stub().DescribeCollection(messages.DescribeCollectionRequest(collection_name=name))
    scalars = {field.name for field in answer.schema.fields if field.data_type < 100}
    partitions = stub().ShowPartitions(messages.ShowPartitionsRequest(collection_name=name))
    return {
        "description": answer.schema.description,
        "shards": answer.shards_num,
        "consistency": answer.consistency_level,
        "aliases": sorted(answer.aliases),
        "fields": [
            {
                "id": field.fieldID,
                "name": field.name,
                "type": field.data_type,
                "description": field.description,
                "primary": field.is_primary_key,
                "auto_id": field.autoID,
                "params": pairs(field.type_params),
            }
            for field in answer.schema.fields
        ],
        "partitions": sorted(partitions.partition_names),
        "indexes": [describe_index(item, item.field_name in scalars) for item in index_descriptions(name)],
        "rows": row_count(name),
    }


def ask(name, partitions):
    """Runs queries and searches on all rows inserted before."""
    collection = Collection(name)
    scalars = [field.name for field in collection.schema.fields if field.dtype < 100]
    common = {"consistency_level": "Strong", "timeout": 20}
    if partitions is not None:
        common["partition_names"] = partitions
    rows = collection.query("id >= 0", output_fields=scalars, **common)
    rows = sorted(json.dumps(row, sort_keys=True, default=lambda value: value.item()) for row in rows)
    answers = {"rows": len(rows), "digest": hashlib.sha256("\n".join(rows).encode()).hexdigest()}
    metric = pairs(index_of(name, "v").params)["metric_type"]
    field = next(field for field in collection.schema.fields if field.name == "v")
    vectors = bits("question", 2) if field.dtype == DataType.BINARY_VECTOR else floats("question", 2)
    for label, expression in (("search", None), ("filtered", "id % 2 == 0")):
        found = collection.search(
            vectors, "v", {"metric_type": metric, "params": SEARCH_PARAMS}, limit=HITS, expr=expression, **common
        )
        answers[label] = [comparable(hits) for hits in found]
    return answers


def comparable(hits):
    """Returns distances and ids. Rows with equal distances have no order, so hits at the last
    distance, which may be incomplete, are left out."""
    hits = sorted((round(hit.distance, 3), hit.id) for hit in hits)
    if len(hits) == HITS:
        hits = [hit for hit in hits if hit[0] != hits[-1][0]]
    return hits


def describe():
    until("loading", lambda: all(done == 100 for done in loaded().values()))
    seen = {name: describe_collection(name) for name in sorted(utility.list_collections())}
    for name in loaded():
        parts = sorted(loaded(name))
        everything = parts == seen[name]["partitions"]
        seen[name]["loaded"] = parts
        if seen[name]["indexes"]:
            seen[name]["answers"] = until(f"an answer of {name}", lambda: ask(name, None if everything else parts))
    return seen


# Changes on a later release.


def work(release):
    old = Collection("articles")
    ids = list(range(10_000, 10_000 + SMALL))
    old.create_partition("y2023")
    old.insert([ids, [f"title {i}" for i in ids], [2023] * SMALL, floats("y2023", SMALL)], partition_name="y2022")
    old.delete(f"id in {list(range(50, 80))}")
    flush("articles")
    fresh = add()
    # Loaded collections without an index need one from 2.2 on.
    bare = Collection("bare")
    index(bare, "v", "IVF_FLAT", "L2", nlist=4)
    bare.load()
    Collection("bits").release()
    # Creating an index again with the same name and parameters is accepted. 2.2.4 requires a released collection.
    archive = Collection("archive")
    index(archive, "v", "IVF_FLAT", "L2", nlist=16, index_name=index_of("archive", "v").index_name)
    index(archive, "year", None, None, index_name="by_year")
    archive.load()
    if release_number(release) < (2, 3):
        rebuild()
    # Alters a segment that 2.1 compacted.
    many = Collection("compacted")
    many.insert([list(range(5_000, 5_000 + SMALL)), floats("compacted later", SMALL)])
    flush("compacted")
    # Rows are not counted before they are flushed.
    flush_all("growing", MANY + SMALL)
    flush_all("draft" if utility.has_collection("draft") else "final", 1)
    utility.create_alias("articles", "newest")
    utility.alter_alias("fresh", "news")
    if release_number(release) >= (2, 2, 9) and utility.has_collection("draft"):
        utility.rename_collection("draft", "final")
    Collection("empty").release()
    Collection("empty").drop()


def add():
    """Creates a collection."""
    fresh = create("fresh", [vector()], description="made later")
    fresh.insert([list(range(INDEXED)), floats("fresh", INDEXED)])
    flush("fresh")
    index(fresh, "v", "IVF_FLAT", "L2", nlist=16)
    fresh.load()
    return fresh


def rename():
    """Alters the record of a collection. Its row is flushed first, so that it is counted."""
    flush_all("draft", 1)
    utility.rename_collection("draft", "final")


def fields(name):
    """Prints the number of fields of a collection."""
    answer = stub().DescribeCollection(messages.DescribeCollectionRequest(collection_name=name))
    print(len(answer.schema.fields))


def release_number(release):
    return tuple(map(int, release.split(".")))


def rebuild():
    """Recreates indexes whose segment indexes were skipped: 2.2 does not build these by itself."""
    for name in ("measures", "fingerprints"):
        collection = Collection(name)
        collection.release()
        for item in index_descriptions(name):
            if item.field_name == "v":
                params = pairs(item.params)
                given = json.loads(params.get("params", "{}"))
                index(collection, "v", params["index_type"], params["metric_type"], index_name=item.index_name, **given)
            else:
                index(collection, item.field_name, None, None, index_name=item.index_name)
        collection.load()


def seal():
    """Inserts into a growing segment of 2.1 and seals it, without waiting for the flush."""
    Collection("growing").insert([list(range(5_000, 5_000 + SMALL)), floats("grown later", SMALL)])
    stub().Flush(messages.FlushRequest(collection_names=["growing"]))


def compact():
    """Deletes many rows of one old collection and few of another, and compacts both."""
    for name, step in (("archive", 2), ("bits", 100)):
        collection = Collection(name)
        collection.load()
        collection.delete(f"id in {list(range(0, INDEXED, step))}")
        flush(name)
        collection.compact()
        until("the compaction", lambda: collection.get_compaction_state().state.name == "Completed")


def main():
    port, command, *arguments = sys.argv[1:]
    # The client logs each rejected request, but a server that has just started rejects many.
    logging.disable(logging.CRITICAL)
    # On a busy machine a server reports healthy before it accepts connections.
    until("a connection", lambda: connections.connect(host="127.0.0.1", port=port) or True)
    if command == "describe":
        print(json.dumps(describe(), sort_keys=True))
    elif command == "search":
        name = arguments[0]
        print(json.dumps(until(f"an answer of {name}", lambda: ask(name, None))["search"][0]))
    else:
        commands = {"fill": fill, "work": work, "add": add, "seal": seal, "compact": compact}
        {**commands, "rename": rename, "fields": fields}[command](*arguments)


main()
