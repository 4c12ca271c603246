//! `/docs`: the OpenAPI document as one page, which asks nobody else for anything.

use serde_json::Value;

use super::error::Code;

const HEAD: &str = include_str!("docs.html");

/// The page of a document.
pub fn page(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let mut html = HEAD.to_owned();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            html.push_str(&route(path, method, operation, &document));
        }
    }
    html.push_str("<h2 id=errors>Errors</h2><p>Every failure is <code>{\"error\": {\"code\", \"message\", \"details\"}}</code>.</p>");
    html.push_str("<div class=wide><table><tr><th>code<th>status<th>meaning<th>what to do</tr>");
    for code in Code::ALL {
        let row = code.row();
        html.push_str(&format!(
            "<tr><td><code>{}</code><td>{}<td>{}<td>{}</tr>",
            row.code,
            row.status.as_u16(),
            escape(row.meaning),
            escape(row.remedy)
        ));
    }
    html.push_str("</table></div></main></html>\n");
    html
}

fn route(path: &str, method: &str, operation: &Value, document: &Value) -> String {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let mut html = format!(
        "<section><h2><b>{}</b> <code>{}</code></h2><p><strong>{}</strong></p><p>{}</p>",
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = text(&parameter["name"]);
        let place = text(&parameter["in"]);
        let required = parameter["required"] == true;
        rows.push_str(&row(
            &name,
            &place,
            required,
            &parameter["schema"],
            &parameter["description"],
            document,
        ));
    }
    let bodies = operation["requestBody"]["content"].as_object();
    let kinds: Vec<String> = bodies.into_iter().flatten().map(|(kind, _)| kind.clone()).collect();
    // The form and the JSON body have the same options: the richer one is shown.
    let json = &operation["requestBody"]["content"]["application/json"]["schema"];
    let body = resolve(json, document);
    let required: Vec<&str> = body["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, schema) in body["properties"].as_object().into_iter().flatten() {
        let is_required = required.contains(&name.as_str());
        rows.push_str(&row(
            &escape(name),
            "body",
            is_required,
            schema,
            &schema["description"],
            document,
        ));
    }
    if !kinds.is_empty() {
        html.push_str(&format!("<p>Body: <code>{}</code></p>", escape(&kinds.join(", "))));
    }
    if !rows.is_empty() {
        html.push_str(&format!(
            "<div class=wide><table><tr><th>name<th>in<th>type<th>meaning</tr>{rows}</table></div>"
        ));
    }
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        for (kind, content) in answer["content"].as_object().into_iter().flatten() {
            let schema = &content["schema"];
            let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            html.push_str(&format!(
                "<p>Answer {}: <code>{}</code> <code>{}</code></p>",
                escape(status),
                escape(kind),
                escape(name.unwrap_or("bytes"))
            ));
        }
    }
    html + "</section>"
}

fn row(name: &str, place: &str, required: bool, schema: &Value, description: &Value, document: &Value) -> String {
    let star = if required { " (required)" } else { "" };
    format!(
        "<tr><td><code>{name}</code>{star}<td>{place}<td>{}<td>{}</tr>",
        escape(&kind(schema, document)),
        escape(description.as_str().unwrap_or_default()),
    )
}

/// A type in a word or two.
fn kind(schema: &Value, document: &Value) -> String {
    let schema = resolve(schema, document);
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        return values.join(" | ");
    }
    for list in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[list].as_array() {
            let kinds: Vec<String> = choices.iter().map(|choice| kind(choice, document)).collect();
            return kinds.join(" | ");
        }
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names: Vec<&str> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .collect();
            names.join(" | ")
        }
        _ => String::new(),
    };
    let default = &schema["default"];
    if default.is_null() {
        name
    } else {
        format!("{name} = {default}")
    }
}

fn resolve<'d>(schema: &'d Value, document: &'d Value) -> &'d Value {
    match schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(&Value::Null),
        None => schema,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
