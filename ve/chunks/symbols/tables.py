"""One table per language: which nodes of its grammar define something, and what they are called.

Rule: rows only. A row says of a node's type in which field its name stands, its role, and how the name
is taken out of that field.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Role = Literal[
    "holder", "extends", "function", "value", "names", "constant", "property", "member", "scope", "assigned"
]
HOLDER: Role = "holder"  # has a name, and what stands in it is named under it
EXTENDS: Role = "extends"  # defines nothing itself, but nests under its name: an impl block
FUNCTION: Role = "function"  # has a name and nests; values in it are local
VALUE: Role = "value"  # has a name unless it is local to a function, and nests
NAMES: Role = "names"  # has names unless they are local to a function; nothing is nested under them
CONSTANT: Role = "constant"  # a value that is also known where its holder stands: C's enumerators
PROPERTY: Role = "property"  # has a name when its object is the very value of what is around
MEMBER: Role = "member"  # belongs to the class around the function that it stands in
SCOPE: Role = "scope"  # a function without a name
ASSIGNED: Role = "assigned"  # an assignment to a path with dots

How = Literal[
    "field", "whole", "innermost", "tagged", "type", "method", "pattern", "path", "modified", "members"
]


class Row(NamedTuple):
    field: str
    role: Role
    how: How = "field"


class Table(NamedTuple):
    module: str
    function: str
    rows: dict[str, Row]


def _rows(role: Role, field: str, types: str, how: How = "field") -> dict[str, Row]:
    return {name: Row(field, role, how) for name in types.split()}


_ECMA = {
    **_rows(HOLDER, "name", "class_declaration"),
    **_rows(FUNCTION, "name", "function_declaration generator_function_declaration method_definition"),
    **_rows(VALUE, "name", "variable_declarator", "pattern"),
    **_rows(PROPERTY, "key", "pair"),
    **_rows(PROPERTY, "", "shorthand_property_identifier", "whole"),
    **_rows(ASSIGNED, "left", "assignment_expression", "path"),
    **_rows(EXTENDS, "", "export_statement"),
    **_rows(SCOPE, "", "arrow_function function_expression generator_function class_static_block"),
}
_JAVASCRIPT = {**_ECMA, **_rows(VALUE, "property", "field_definition")}
_TYPESCRIPT = {
    **_ECMA,
    **_rows(HOLDER, "name", "abstract_class_declaration interface_declaration enum_declaration"),
    **_rows(HOLDER, "name", "type_alias_declaration internal_module module"),
    **_rows(FUNCTION, "name", "function_signature method_signature abstract_method_signature"),
    **_rows(VALUE, "name", "public_field_definition property_signature enum_assignment"),
    **_rows(NAMES, "", "enum_body", "members"),
    **_rows(MEMBER, "pattern", "required_parameter", "modified"),
}
_RUST = {
    **_rows(HOLDER, "name", "mod_item struct_item enum_item union_item trait_item enum_variant"),
    **_rows(EXTENDS, "type", "impl_item", "type"),
    **_rows(FUNCTION, "name", "function_item function_signature_item"),
    **_rows(HOLDER, "name", "macro_definition type_item associated_type const_item static_item"),
    **_rows(VALUE, "name", "field_declaration"),
    **_rows(SCOPE, "", "closure_expression"),
}
_GO = {
    **_rows(HOLDER, "name", "type_spec type_alias"),
    **_rows(FUNCTION, "name", "function_declaration"),
    **_rows(FUNCTION, "name", "method_declaration", "method"),
    **_rows(NAMES, "name", "const_spec var_spec field_declaration method_elem method_spec"),
    **_rows(SCOPE, "", "func_literal"),
}
_JAVA = {
    **_rows(HOLDER, "name", "class_declaration interface_declaration enum_declaration record_declaration"),
    **_rows(HOLDER, "name", "annotation_type_declaration"),
    **_rows(FUNCTION, "name", "method_declaration constructor_declaration compact_constructor_declaration"),
    **_rows(VALUE, "name", "annotation_type_element_declaration enum_constant variable_declarator"),
    **_rows(SCOPE, "", "lambda_expression static_initializer"),
}
_C = {
    **_rows(HOLDER, "name", "struct_specifier union_specifier enum_specifier", "tagged"),
    **_rows(CONSTANT, "name", "enumerator"),
    **_rows(FUNCTION, "declarator", "function_definition", "innermost"),
    **_rows(HOLDER, "name", "preproc_def preproc_function_def"),
    **_rows(NAMES, "declarator", "type_definition declaration field_declaration", "innermost"),
}
_CPP = {
    **_C,
    **_rows(HOLDER, "name", "class_specifier", "tagged"),
    **_rows(HOLDER, "name", "namespace_definition alias_declaration concept_definition"),
    **_rows(SCOPE, "", "lambda_expression"),
}

TABLES: dict[str, Table] = {
    "TypeScript": Table("tree_sitter_typescript", "language_typescript", _TYPESCRIPT),
    "TSX": Table("tree_sitter_typescript", "language_tsx", _TYPESCRIPT),
    "JavaScript": Table("tree_sitter_javascript", "language", _JAVASCRIPT),
    "Rust": Table("tree_sitter_rust", "language", _RUST),
    "Go": Table("tree_sitter_go", "language", _GO),
    "Java": Table("tree_sitter_java", "language", _JAVA),
    "C": Table("tree_sitter_c", "language", _C),
    "C++": Table("tree_sitter_cpp", "language", _CPP),
}
