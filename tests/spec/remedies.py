"""Does what a message advises: reads the remedies out of a problem of a config, and applies each to the config's text.

A remedy stands after the last `; ` of a message, several of them parted by `, or `; those of a stack that does not fit
stand on lines of their own. What is understood:

    did you mean 'x'?              the wrong word becomes x
    write: LINE                    the line becomes LINE, as deep as it is
    write KEY: VALUE [...]         here, in place of an unknown field (`instead`), `under SECTION` or `at the top`
    write - LAYER                  the layer becomes LAYER
    end with LAYER                 LAYER comes below all others
    indent it by N spaces, remove the quotes, remove the tag, remove it, leave FIELD out, keep one of them
    indent A, B under 'x', start each with its own '- '
    remove 'a', move 'a' below 'b', 'a': FIELD: VALUE        of layers by their names

Anything else, such as "name another split", is for people: `Vague`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from cnnctl.errors import ConfigError, Problem
from cnnctl.spec.document import Where, dump, parse, value_of
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.load import check, validated
from cnnctl.spec.overrides import keys_of, put
from cnnctl.spec.stack import nodes_of

FOR_PEOPLE = re.compile(
    r"less|lower times|another .*|choose another.*|other filters|channels_last|subclass|concatenate|join them with add|strides"
    r"|name another split|add it to the inputs of a layer|set a square data.image_size|set data.validation to a fraction|give smaller windows|write the fields themselves|move the dropout before .*|remove that softmax .*|end the network with it.*"
    r"|multiply two layers, .*|flatten|pool globally|change one|remove one of the two|remove the activation.*|set softmax .*|set activation: softmax for it"
    r"|remove this layer|write the value itself|write it there|write \$ and its name alone|add it to model.layers.*|use fewer blocks|write it in model.layers|add variance|add mean|write one number|other axes|remove this one"
    r"|use categorical_crossentropy with .*|'cnnctl init' .*|a relative path starts at .*|not read: .*|pass a folder of images"
)
"""Remedies that leave a choice, and what is said after a `; ` without advice."""


class Vague(Exception):
    """A remedy that no program can apply."""


def refused(text: str, name: str = "x.yaml") -> list[Problem]:
    """Returns what is wrong with a config, none where it is right."""
    try:
        check(parse(text, name))
    except ConfigError as error:
        return list(error.problems)
    return []


def remedies_of(message: str) -> list[str]:
    """Returns what a message advises, each remedy by itself."""
    first, *lines = message.split("\n")
    listed = [line.removeprefix("    - ") for line in lines if line.startswith("    - ")]
    if listed:
        return listed
    _, found, advice = first.partition("; write: ")
    if found:
        return [f"write: {advice}"]
    advice = first.rpartition("; ")[2] if "; " in first else ""
    if advice.startswith("known: ") or not advice:
        return []
    return re.split(r",? or |(?<=\?) Or ", advice)


def applied(text: str, problem: Problem, remedy: str) -> str:
    """Returns the config after one remedy of a problem.

    Raises:
        Vague: no program can tell what is meant.
    """
    if problem.message.startswith("duplicate key"):
        return _keep_one(text, problem)
    for pattern, apply in _ON_LINES:
        if match := re.fullmatch(pattern, remedy):
            return apply(text, problem, match)
    for pattern, change in _ON_CONTENT:
        if match := re.fullmatch(pattern, remedy):
            content = copy.deepcopy(parse(text, "x.yaml").content)
            change(content, problem, match)
            return dump(content)
    raise Vague(remedy)


def _place(problem: Problem) -> tuple[int, int]:
    _, line, column = problem.location.rsplit(":", 2)
    return int(line) - 1, int(column) - 1


def _write_line(text: str, problem: Problem, match: re.Match[str]) -> str:
    lines, (number, _) = text.split("\n"), _place(problem)
    depth = re.match(r"[\s ]*", lines[number])
    assert depth
    lines[number] = re.sub(r"[^ ]", " ", depth[0]) + match[1]
    return "\n".join(lines)


def _indent(text: str, problem: Problem, match: re.Match[str]) -> str:
    lines, (number, _) = text.split("\n"), _place(problem)
    lines[number] = " " * int(match[1]) + lines[number].lstrip()
    return "\n".join(lines)


def _remove_quotes(text: str, problem: Problem, match: re.Match[str]) -> str:
    lines, (number, column) = text.split("\n"), _place(problem)
    quote = lines[number][column]
    assert quote in "\"'"
    end = lines[number].index(quote, column + 1)
    lines[number] = lines[number][:column] + lines[number][column + 1 : end] + lines[number][end + 1 :]
    return "\n".join(lines)


def _remove_tag(text: str, problem: Problem, match: re.Match[str]) -> str:
    lines, (number, column) = text.split("\n"), _place(problem)
    lines[number] = lines[number][:column] + re.sub(r"!\S*[^\s,}\]]\s*", "", lines[number][column:], count=1)
    return "\n".join(lines)


def _keep_one(text: str, problem: Problem) -> str:
    """Removes the second of two keys."""
    lines, (number, column) = text.split("\n"), _place(problem)
    twice = re.match(r"duplicate key '(.+?)'", problem.message)
    assert twice
    value = r"\s*:\s*(?:\{[^}]*\}|\[[^\]]*\]|[^,}]*?)\s*(?:,\s*|(?=[}\]]|$))"
    key = re.escape(json.dumps(twice[1].replace("\\n", "\n"))) + "|" + re.escape(twice[1])
    lines[number] = lines[number][:column] + re.sub(f"^(?:{key}){value}", "", lines[number][column:], count=1)
    return "\n".join(line for line in lines if line.strip())


_ON_LINES = (
    (r"remove the tag", _remove_tag),
    (r"write: (.+)", _write_line),
    (r"indent it by (\d+) spaces?", _indent),
    (r"remove the quotes", _remove_quotes),
)


def _at(content: Any, where: Where) -> Any:
    for key in where:
        content = content[key]
    return content


def _keys(problem: Problem) -> Where:
    """Returns the keys of what a problem is about; paths under sweep.parameters are keys as a whole."""
    _, found, path = problem.path.partition("sweep.parameters.")
    if not found:
        return keys_of(problem.path)
    path, *inside = re.split(r"\.(?=low$|high$|step$|log$)|\[(?=\d+\]$)", path)
    return ("sweep", "parameters", path, *(int(each[:-1]) if each.endswith("]") else each for each in inside))


def _unknown_field(problem: Problem) -> str | None:
    match = re.match(r"(?:unknown field '(.+?)'|'(\w+)' has been renamed)", problem.message)
    return (match[1] or match[2]) if match else None


def _rename(content: Any, where: Where, old: str, new: str) -> None:
    part, old = _at(content, where), old.replace("\\n", "\n")
    if isinstance(part, list):
        part[part.index(old)] = new
        return
    items = [(new if key == old else key, value) for key, value in part.items()]
    part.clear()
    part.update(items)


def _did_you_mean(content: Any, problem: Problem, match: re.Match[str]) -> None:
    keys, word = _keys(problem), match[1]
    if keys[:2] == ("sweep", "parameters") and (inner := re.match(r"(?:[\w.\[\]]+: )?unknown field '(.+?)'", problem.message)):
        _in_parameter(content, keys, inner[1], word)
        return
    if field := _unknown_field(problem):
        _rename(content, keys, field, word)
        return
    wrong = re.search(r"(?:received|unknown \w+|the dataset|there is no \w+) '(.+?)'", problem.message)
    assert wrong, problem
    if keys[:2] == ("sweep", "parameters") and wrong[1] in str(keys[2]).split("."):
        _in_parameter(content, keys, wrong[1], word)
        return
    value = _at(content, keys)
    if isinstance(value, str):
        put(content, keys, word, "remedy")
    else:
        _rename(content, keys, wrong[1], word)


def _in_parameter(content: Any, keys: Where, old: str, new: str) -> None:
    """Renames a part of a path that is swept, or a field of what is tried there."""
    *above, path = keys[:3]
    parameters = _at(content, tuple(above))
    text = json.dumps({path: parameters[path]})
    renamed = json.loads(re.sub(rf"\b{old}\b", new, text))
    _rename(content, tuple(above), str(path), next(iter(renamed)))
    parameters.update(renamed)


def _remove(content: Any, problem: Problem, match: re.Match[str]) -> None:
    keys = list(_keys(problem))
    if field := _unknown_field(problem):
        keys.append(field)
    if len(keys) > 1 and isinstance(keys[-2], int):  # a layer as a whole
        keys.pop()
    *above, last = keys
    del _at(content, tuple(above))[last]


def _leave_out(content: Any, problem: Problem, match: re.Match[str]) -> None:
    if match[1] == "it":
        _remove(content, problem, match)
        return
    named, keys = keys_of(match[1]), _keys(problem)
    for depth in range(len(keys), -1, -1):  # in the nearest section that has it
        try:
            *above, last = (*keys[:depth], *named)
            del _at(content, tuple(above))[last]
        except (KeyError, TypeError, IndexError):
            continue
        return
    raise Vague(match[0])


def _write(content: Any, problem: Problem, match: re.Match[str]) -> None:
    keys = _keys(problem)
    field = _unknown_field(problem)
    if field:
        section, value = keys, _at(content, keys).pop(field)
        del value
    else:
        section = keys
    pairs = value_of("{" + match[1] + "}", "remedy")
    under = match[2]
    if under == " at the top":
        section = ()
    elif under and under.startswith(" under "):
        section = keys_of(under.removeprefix(" under "))
    elif not field and keys and keys[-1] in pairs:
        section = keys[:-1]
    elif not field and len(keys) > 1 and next(iter(pairs)) == keys[-2]:  # a part of what is to be written as a whole
        section = keys[:-2]
    elif not field and not isinstance(_at(content, keys), dict):
        section = keys[:-1]
    for key, value in pairs.items():
        put(content, (*section, key), value, "remedy")


def _write_layer(content: Any, problem: Problem, match: re.Match[str]) -> None:
    *above, index = _keys(problem)
    _at(content, tuple(above))[index] = value_of(match[1], "remedy")


def _end_with(content: Any, problem: Problem, match: re.Match[str]) -> None:
    content["model"]["layers"].append(value_of(f"{{{match[1]}}}", "remedy"))


def _named(content: Any, name: str) -> Where:
    """Returns the path of the item of a layer."""
    document = parse(dump(content), "x.yaml")
    model = validated(ModelSpec, document, ("model",), [])
    assert model
    nodes, _ = nodes_of(model)
    return next(node.written[:-1] for node in nodes if node.name == name)


def _remove_layer(content: Any, problem: Problem, match: re.Match[str]) -> None:
    *above, index = _named(content, match[1])
    del _at(content, tuple(above))[index]


def _move_layer(content: Any, problem: Problem, match: re.Match[str]) -> None:
    (*above, index), (*_, lower) = _named(content, match[1]), _named(content, match[2])
    layers = _at(content, tuple(above))
    layers.insert(lower, layers.pop(index))


def _change_layer(content: Any, problem: Problem, match: re.Match[str]) -> None:
    where = _named(content, match[1])
    item = _at(content, where)
    kind = item if isinstance(item, str) else next(iter(item))
    for field, value in value_of(f"{{{match[2]}}}", "remedy").items():
        put(content, (*where, kind, field), value, "remedy")


def _set_path(content: Any, problem: Problem, match: re.Match[str]) -> None:
    put(content, keys_of(match[1]), value_of(match[2], "remedy"), "remedy")


def _indent_under(content: Any, problem: Problem, match: re.Match[str]) -> None:
    item = _at(content, _keys(problem))
    fields = {field: item.pop(field) for field in match[1].split(", ")}
    item[match[2]] = {**(item[match[2]] or {}), **fields}


def _begin_each(content: Any, problem: Problem, match: re.Match[str]) -> None:
    *above, index = _keys(problem)
    layers = _at(content, tuple(above))
    assert isinstance(index, int)
    layers[index : index + 1] = [{key: value} for key, value in layers[index].items()]


def _keep_first(content: Any, problem: Problem, match: re.Match[str]) -> None:
    part = _at(content, _keys(problem))
    for key in list(part)[1:]:
        del part[key]


_ON_CONTENT = (
    (r"indent (.+) under '(.+)'", _indent_under),
    (r"start each with its own '- '", _begin_each),
    (r"keep one of them", _keep_first),
    (r"did you mean '(.+)'(?:, .*)?\?", _did_you_mean),
    (r"remove it.*", _remove),
    (r"remove the section", _remove),
    (r"remove '(.+)'", _remove_layer),
    (r"remove ([\w.]+)", _leave_out),
    (r"move '(.+)' below '(.+)'", _move_layer),
    (r"'(.+)': (\w+: .+)", _change_layer),
    (r"write - (.+)", _write_layer),
    (r"(?:flatten .*then )?end with (.+)", _end_with),
    (r"write (\w+: .+?)( under [\w.]+| at the top| instead|)(?:, with the numbers of your images)?", _write),
    (r"([a-z_.]+\.[a-z_]+): (.+)", _set_path),
)


def tried(text: str, problem: Problem) -> Iterator[tuple[str, list[Problem] | None]]:
    """Yields each remedy of a problem with what is wrong afterwards; None for a remedy that is for people."""
    for remedy in remedies_of(problem.message):
        try:
            yield remedy, refused(applied(text, problem, remedy))
        except Vague:
            yield remedy, None
