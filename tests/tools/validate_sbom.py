"""Checks a bill of materials or a statement by what others say it has to be: KIND FILE, with the directory of
`cargo xtask validators` in LEANFS_TEST_SBOM_VALIDATORS. Prints what is wrong, a line each; exit code 1 if anything is."""

import json
import os
import sys
from pathlib import Path

VALIDATORS = Path(os.environ["LEANFS_TEST_SBOM_VALIDATORS"])
sys.path.insert(0, str(VALIDATORS / "python"))


def by_schema(schema, store, document):
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    resolver = jsonschema.RefResolver.from_schema(schema, store=store)
    # Formats without a checker would be passed over silently.
    missing = {"date-time", "email", "idn-email", "uri"} - set(validator.FORMAT_CHECKER.checkers)
    assert not missing, missing
    found = validator(schema, resolver=resolver, format_checker=validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in found.iter_errors(document)]


def cyclonedx(path):
    import cyclonedx.schema

    directory = Path(cyclonedx.schema.__file__).parent / "_res"
    schemas = {
        name: json.loads((directory / f"{name}.SNAPSHOT.schema.json").read_text("utf-8"))
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    base = schemas["bom-1.6"]["$id"].rsplit("/", 1)[0]
    store = {f"{base}/{name}.SNAPSHOT.schema.json": schema for name, schema in schemas.items()}
    return by_schema(schemas["bom-1.6"], store, json.loads(path.read_text("utf-8")))


def spdx(path):
    from spdx_tools.spdx.parser.error import SPDXParsingError
    from spdx_tools.spdx.parser.json import json_parser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    schema = json.loads((VALIDATORS / "spdx.schema.json").read_text("utf-8"))
    errors = by_schema(schema, {}, json.loads(path.read_text("utf-8")))
    try:
        document = json_parser.parse_from_file(str(path))
    except SPDXParsingError as error:
        return errors + error.get_messages()
    return errors + [message.validation_message for message in validate_full_spdx_document(document)]


def provenance(path):
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import resource_descriptor, statement, statement_pb2

    # What the definitions don't have is an error.
    try:
        parsed = json_format.ParseDict(json.loads(path.read_text("utf-8")), statement_pb2.Statement())
        statement.Statement.copy_from_pb(parsed).validate()
        of_predicate = json_format.MessageToDict(parsed.predicate)
        predicate = json_format.ParseDict(of_predicate, provenance_pb2.Provenance())
    except json_format.Error as error:
        return [str(error)]
    definition, details = predicate.build_definition, predicate.run_details
    errors = []
    if parsed.predicate_type != "https://slsa.dev/provenance/v1":
        errors.append(f"predicateType: {parsed.predicate_type}")
    # What SLSA requires.
    for name, value in [
        ("buildType", definition.build_type),
        ("externalParameters", definition.external_parameters.fields),
        ("builder.id", details.builder.id),
    ]:
        if not value:
            errors.append(f"{name} is missing")
    for descriptor in [*definition.resolved_dependencies, *details.byproducts]:
        resource_descriptor.ResourceDescriptor.copy_from_pb(descriptor).validate()
    return errors


def main():
    kind, name = sys.argv[1:]
    try:
        errors = {"cyclonedx": cyclonedx, "spdx": spdx, "provenance": provenance}[kind](Path(name))
    except (ValueError, KeyError) as error:
        errors = [f"{type(error).__name__}: {error}"]
    for error in errors:
        print(error)
    sys.exit(1 if errors else 0)


main()
