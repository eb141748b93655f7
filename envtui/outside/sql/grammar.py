"""The part of PostgreSQL's grammar that a read may use: nodes of its parse tree, and the fields of each that are known.

An allow-list, by libpg_query's names. A field with `:Type` holds that node without saying its name. What is not here is not
read: SELECT's intoClause and lockingClause, statements inside WITH that change rows, whatever a later grammar brings.
"""

from __future__ import annotations

from collections.abc import Mapping

Fields = Mapping[str, Mapping[str, str]]
"""Node -> field -> the node that it holds; '' where the tree names it, or where it holds plain values."""


def _table(text: str) -> Fields:
    found: dict[str, dict[str, str]] = {}
    for line in text.strip().replace("\n  ", " ").splitlines():  # an indented line goes on with the one before it
        kind, *fields = line.split()
        found[kind] = {name: inner for name, _, inner in (field.partition(":") for field in fields)}
    return found


QUERY = _table(
    """
SelectStmt distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause windowClause
  valuesLists sortClause limitOffset limitCount limitOption withClause:WithClause op all larg:SelectStmt rarg:SelectStmt
A_Const ival:Integer fval:Float boolval:Boolean sval:String bsval:BitString isnull
Integer ival
Float fval
Boolean boolval
BitString bsval
String sval
List items
A_Expr kind name lexpr rexpr rexpr_list_start rexpr_list_end
A_ArrayExpr elements list_start list_end
A_Indices is_slice lidx uidx
A_Indirection arg indirection
A_Star
BoolExpr boolop args
BooleanTest arg booltesttype
NullTest arg nulltesttype argisrow
CaseExpr arg args defresult
CaseWhen expr result
CoalesceExpr args
MinMaxExpr op args
SQLValueFunction op typmod
CollateClause arg collname
ColumnRef fields
ParamRef number
TypeCast arg typeName:TypeName
TypeName names setof pct_type typmods typemod arrayBounds
FuncCall funcname args agg_order agg_filter over:WindowDef agg_within_group agg_star agg_distinct func_variadic funcformat
NamedArgExpr arg name argnumber
ResTarget name indirection val
RangeVar catalogname schemaname relname inh relpersistence alias:Alias
RangeSubselect lateral subquery alias:Alias
RangeFunction lateral ordinality is_rowsfrom functions alias:Alias coldeflist
RangeTableSample relation method args repeatable
RangeTableFunc lateral docexpr rowexpr namespaces columns alias:Alias
RangeTableFuncCol colname typeName:TypeName for_ordinality is_not_null colexpr coldefexpr
ColumnDef colname typeName:TypeName is_local collClause:CollateClause
JoinExpr jointype isNatural larg rarg usingClause join_using_alias:Alias quals alias:Alias
Alias aliasname colnames
SortBy node sortby_dir sortby_nulls useOp
SubLink subLinkType testexpr operName subselect
WindowDef name refname partitionClause orderClause frameOptions startOffset endOffset
WithClause ctes recursive
CommonTableExpr ctename aliascolnames ctematerialized ctequery search_clause:CTESearchClause cycle_clause:CTECycleClause
CTESearchClause search_col_list search_breadth_first search_seq_column
CTECycleClause cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column
GroupingFunc args
GroupingSet kind content
RowExpr args row_format colnames
XmlExpr op name named_args arg_names args xmloption indent
XmlSerialize xmloption expr typeName:TypeName indent
JsonTable context_item:JsonValueExpr pathspec:JsonTablePathSpec passing columns on_error:JsonBehavior alias:Alias lateral
JsonTableColumn coltype name typeName:TypeName pathspec:JsonTablePathSpec format:JsonFormat
  wrapper quotes columns on_empty:JsonBehavior on_error:JsonBehavior
JsonTablePathSpec string name name_location
JsonObjectConstructor exprs output:JsonOutput absent_on_null unique
JsonArrayConstructor exprs output:JsonOutput absent_on_null
JsonArrayQueryConstructor query output:JsonOutput format:JsonFormat absent_on_null
JsonKeyValue key value:JsonValueExpr
JsonValueExpr raw_expr formatted_expr format:JsonFormat
JsonFormat format_type encoding
JsonOutput typeName:TypeName returning:JsonReturning
JsonReturning format:JsonFormat typmod
JsonIsPredicate expr format:JsonFormat item_type unique_keys
JsonParseExpr expr:JsonValueExpr output:JsonOutput unique_keys
JsonScalarExpr expr output:JsonOutput
JsonSerializeExpr expr:JsonValueExpr output:JsonOutput
JsonFuncExpr op column_name context_item:JsonValueExpr pathspec passing output:JsonOutput
  on_empty:JsonBehavior on_error:JsonBehavior wrapper quotes
JsonBehavior btype expr coerce
JsonArgument val:JsonValueExpr name
JsonAggConstructor output:JsonOutput agg_filter agg_order over:WindowDef
JsonObjectAgg constructor:JsonAggConstructor arg:JsonKeyValue absent_on_null unique
JsonArrayAgg constructor:JsonAggConstructor arg:JsonValueExpr absent_on_null
"""
)

PLANNED = _table(
    """
InsertStmt relation:RangeVar cols selectStmt withClause:WithClause override
UpdateStmt relation:RangeVar targetList whereClause fromClause withClause:WithClause
DeleteStmt relation:RangeVar usingClause whereClause withClause:WithClause
"""
)
"""What EXPLAIN without ANALYZE may plan besides: nothing of it runs."""

EXPLAIN_OPTIONS = frozenset(
    {"analyze", "buffers", "costs", "format", "generic_plan", "memory", "serialize"}
    | {"settings", "summary", "timing", "verbose", "wal"}
)
SAMPLING = frozenset({"bernoulli", "system"})
