"""The page /docs: renders /openapi.json with a few lines of our own, so that nothing comes from another host."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 small, .muted { color: GrayText; font-weight: normal }
details { border: 1px solid GrayText; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer } summary b { display: inline-block; min-width: 5rem } code, pre { font-size: .9rem }
pre { overflow: auto; padding: .6rem; border: 1px dashed GrayText; border-radius: .4rem }
td, th { text-align: left; vertical-align: top; padding: .1rem 1rem .1rem 0 }
"""

_SCRIPT = """
const make = (name, text, ...children) => {
  const node = document.createElement(name); if (text) node.textContent = text;
  node.append(...children.filter(Boolean)); return node;
};
const shape = (schema, all, seen = []) => {
  if (!schema) return null;
  if (schema.$ref) {
    const name = schema.$ref.split('/').pop();
    return seen.includes(name) ? name : shape(all[name], all, [...seen, name]);
  }
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(one => shape(one, all, seen)).map(one => typeof one === 'string' ? one :
    JSON.stringify(one)).join(' or ');
  if (schema.enum) return schema.enum.join(' | ');
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([key, value]) =>
    [key + ((schema.required || []).includes(key) ? '' : '?'), shape(value, all, seen)]));
  if (schema.type === 'array') return [shape(schema.items, all, seen)];
  return [schema.type, schema.format].filter(Boolean).join(' ') || 'any';
};
const content = (title, content, all) => {
  const found = Object.entries(content || {}).filter(([, value]) => value.schema);
  return found.length ? make('div', '', make('p', title + ' \\u00b7 ' + found[0][0]),
    make('pre', JSON.stringify(shape(found[0][1].schema, all), null, 2))) : null;
};
const operation = (method, path, about, all) => {
  const rows = (about.parameters || []).map(one => make('tr', '', make('td', '', make('code', one.name)),
    make('td', one.in + (one.required ? ', required' : '')), make('td', one.description || '')));
  const answers = Object.entries(about.responses || {}).map(([status, answer]) =>
    content(status + ' ' + (answer.description || ''), answer.content, all) || make('p', status + ' ' +
    (answer.description || '')));
  return make('details', '', make('summary', '', make('b', method.toUpperCase()), make('code', path),
    make('span', ' ' + (about.summary || ''))), make('p', about.description || ''),
    rows.length ? make('table', '', ...rows) : null,
    content('Request', about.requestBody && about.requestBody.content, all), make('h4', 'Answers'), ...answers);
};
fetch('openapi.json').then(answer => answer.json()).then(api => {
  const all = (api.components || {}).schemas || {}, page = document.querySelector('main');
  page.replaceChildren(make('h1', api.info.title + ' ', make('small', api.info.version)),
    make('p', api.info.description || ''));
  for (const [path, methods] of Object.entries(api.paths)) for (const [method, about] of Object.entries(methods))
    page.append(operation(method, path, about, all));
}).catch(error => { document.querySelector('main').textContent = 'openapi.json cannot be read: ' + error; });
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


DOCS_POLICY = (
    f"default-src 'none'; connect-src 'self'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_page(title: str) -> str:
    """The page for an API of this title; to be served with `DOCS_POLICY`, which allows these scripts and no others."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        '<body><main>Reading <a href="openapi.json">openapi.json</a></main>'
        f"<script>{_SCRIPT}</script></body></html>"
    )
