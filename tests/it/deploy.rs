//! The deployment files: each command of ours in them, as it stands there, run by the real binary against a real node.
//! Their form is checked by dev/deploy-check.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::api::http;
use crate::harness::{Ran, Space, photo, root, run};

/// A container of ours: what it runs, and what it sees.
struct Container {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where volumes are mounted.
    mounts: Vec<String>,
}

impl Container {
    /// The command that the container would run. What is mounted lies in the test's folder, Elasticsearch is the test's
    /// node, and port 8080 is any free one of loopback; all else is as in the file.
    fn command(&self, space: &Space, arguments: &[String]) -> Command {
        let arguments: Vec<String> = arguments.iter().map(|argument| self.here(space, argument)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = space.command(&arguments);
        command.env_remove("FACEDEX_COLLECTION");
        for (name, value) in &self.environment {
            command.env(name, self.here(space, value));
        }
        command.env("ELASTICSEARCH_URL", &space.url);
        command
    }

    fn run(&self, space: &Space, arguments: &[String]) -> Ran {
        run(self.command(space, arguments))
    }

    fn here(&self, space: &Space, text: &str) -> String {
        let text = text.replace("0.0.0.0:8080", "127.0.0.1:0");
        let at = text
            .find('/')
            .filter(|&at| text[..at].is_empty() || text[..at].ends_with('='));
        let mount = at.and_then(|at| self.mounts.iter().find(|mount| text[at..].starts_with(*mount)));
        match (at, mount) {
            (Some(at), Some(_)) => format!("{}{}{}", &text[..at], space.path("").trim_end_matches('/'), &text[at..]),
            _ => text,
        }
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = String> {
    value.as_array().into_iter().flatten().map(text)
}

/// Compose's variables: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `$$`.
fn interpolate(file: &str, variables: &BTreeMap<String, String>) -> String {
    let mut done = String::new();
    let mut rest = file;
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            done.push('$');
            after
        } else {
            let (inside, after) = after.strip_prefix('{').and_then(|after| after.split_once('}')).unwrap();
            let (name, otherwise) = inside.split_once(':').unwrap_or((inside, ""));
            let default = otherwise.strip_prefix('-').map(str::to_owned);
            let value = variables.get(name).cloned().or(default);
            done.push_str(&value.unwrap_or_else(|| panic!("{name} has no value")));
            after
        };
    }
    done + rest
}

/// The Compose file after `cp .env.example .env`, with the test's collection.
fn compose(space: &Space) -> Value {
    let mut variables: BTreeMap<String, String> = read(".env.example")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    variables.insert("COLLECTION".to_owned(), space.name.clone());
    serde_saphyr::from_str(&interpolate(&read("docker-compose.yml"), &variables)).unwrap()
}

fn service(compose: &Value, name: &str) -> Container {
    let service = &compose["services"][name];
    let environment = service["environment"].as_object().unwrap();
    Container {
        arguments: list(&service["command"]).collect(),
        environment: environment
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        mounts: list(&service["volumes"])
            .map(|volume| volume.split(':').nth(1).unwrap().to_owned())
            .collect(),
    }
}

/// The only container of a Kubernetes workload. `variables` are what Kubernetes would take from elsewhere.
fn pod(workload: &Value, variables: &[(&str, &str)]) -> Container {
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let expand = |text: String| {
        let expand = |text: String, (name, value): &(&str, &str)| text.replace(&format!("$({name})"), value);
        variables.iter().fold(text, expand)
    };
    let variable = |entry: &Value| {
        let name = text(&entry["name"]);
        let given = variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned());
        let value = entry["value"].as_str().map(str::to_owned);
        let secret = entry["valueFrom"]["secretKeyRef"]
            .is_object()
            .then(|| "c2VjcmV0OnNlY3JldA==".to_owned());
        (name, expand(value.or(given).or(secret).unwrap()))
    };
    Container {
        arguments: list(&container["args"]).map(expand).collect(),
        environment: container["env"].as_array().unwrap().iter().map(variable).collect(),
        mounts: container["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| text(&mount["mountPath"]))
            .collect(),
    }
}

fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(name)).unwrap()
}

/// A command of ours that a file's comment tells people to type, from after `before` to the comment's next column.
fn told(file: &str, before: &str) -> Vec<String> {
    let file = read(file);
    let (_, command) = file.split_once(before).unwrap_or_else(|| panic!("no {before:?} in it"));
    let command = command.lines().next().unwrap().split("   ").next().unwrap();
    command
        .split_whitespace()
        .map(|word| word.trim_matches('\'').to_owned())
        .collect()
}

/// An authority's certificate, as the files mount it.
fn authority(space: &Space, folder: &str) {
    std::fs::create_dir_all(space.folder.path().join(folder)).unwrap();
    let (certificate, key) = (space.path(&format!("{folder}/ca.crt")), space.path("ca.key"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]);
    openssl.args(["-subj", "/CN=test", "-keyout", &key, "-out", &certificate]);
    run(openssl).expect(0);
}

/// The demo's named photos in a folder of the test.
fn photos(space: &Space, folder: &str) -> u64 {
    let people = std::fs::read_dir(photo("gallery")).unwrap();
    let files: Vec<_> = people
        .flat_map(|person| std::fs::read_dir(person.unwrap().path()).unwrap())
        .collect();
    let count = files.len() as u64;
    for file in files {
        let file = file.unwrap();
        let name = format!("{folder}/{}", file.file_name().to_str().unwrap());
        space.put(&name, &std::fs::read(file.path()).unwrap());
    }
    count
}

fn get(url: &str, key: Option<&str>) -> u16 {
    let mut request = http().get(url);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    request.send().unwrap().status().as_u16()
}

#[test]
fn the_compose_file_s_serve_is_healthy_and_asks_for_the_key_that_its_first_lines_make() {
    let space = Space::new();
    authority(&space, "ca");
    std::fs::create_dir(space.folder.path().join("work")).unwrap();
    let compose = compose(&space);
    let serve = service(&compose, "serve");
    let key = serve
        .run(&space, &told("docker-compose.yml", "run --rm --no-deps serve "))
        .expect(0);
    // There is no Kibana; that it is not found where the command says is all that is wrong with it.
    let import = serve
        .run(&space, &told("docker-compose.yml", "run --rm serve "))
        .expect(2);
    assert!(
        import.stderr.contains("no answer from kibana at http://kibana:5601/"),
        "{import:?}"
    );
    let running = Api::run(serve.command(&space, &serve.arguments));
    assert_eq!(get(&format!("{}/v1/collections", running.url), None), 401);
    assert_eq!(
        get(&format!("{}/v1/collections", running.url), Some(key.stdout.trim())),
        200
    );

    let check: Vec<String> = list(&compose["services"]["serve"]["healthcheck"]["test"]).collect();
    assert_eq!(check[0], "CMD");
    let health = |port: &str| {
        let mut command = Command::new(&check[1]);
        command.args(check[2..].iter().map(|argument| argument.replace("8080", port)));
        run(command)
    };
    health(running.url.rsplit(':').next().unwrap()).expect(0);
    assert_ne!(health("1").code, 0);
}

#[test]
fn the_compose_file_s_ingest_loads_the_mounted_photos_and_may_be_run_again() {
    let space = Space::new();
    authority(&space, "ca");
    let count = photos(&space, "photos");
    let ingest = service(&compose(&space), "ingest");
    std::fs::create_dir(space.folder.path().join("work")).unwrap();
    assert_eq!(ingest.run(&space, &ingest.arguments).expect(0).json()["indexed"], count);
    assert_eq!(ingest.run(&space, &ingest.arguments).expect(0).json()["indexed"], 0);
    assert_eq!(space.count(), count);
}

#[test]
fn the_pods_of_the_indexed_job_share_the_photos() {
    let space = Space::new();
    let count = photos(&space, "bucket");
    std::fs::create_dir(space.folder.path().join("work")).unwrap();
    let job = documents("deploy/kubernetes/ingest-job.yaml").remove(0);
    let mut indexed = 0;
    for index in 0..job["spec"]["completions"].as_u64().unwrap() {
        let pod = pod(&job, &[("JOB_COMPLETION_INDEX", &index.to_string())]);
        let arguments: Vec<String> = pod
            .arguments
            .iter()
            .map(|argument| match argument.as_str() {
                "s3://BUCKET/PREFIX/" => space.path("bucket"),
                "--collection=faces" => format!("--collection={}", space.name),
                other => other.to_owned(),
            })
            .collect();
        indexed += pod.run(&space, &arguments).expect(0).json()["indexed"]
            .as_u64()
            .unwrap();
    }
    assert_eq!((indexed, space.count()), (count, count));
}

#[test]
fn the_deployment_s_probes_find_a_server_that_asks_for_the_keys_of_its_secret() {
    let space = Space::new();
    for (folder, is_ca) in [("work", false), ("keys", false), ("elasticsearch", true)] {
        std::fs::create_dir(space.folder.path().join(folder)).unwrap();
        if is_ca {
            authority(&space, folder);
        }
    }
    let workloads = documents("deploy/kubernetes/serve.yaml");
    let (deployment, service) = (&workloads[0], &workloads[1]);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let pod = pod(deployment, &[("POD_NAME", "facedex-serve-0")]);
    let mut make = space.command(&[]);
    make.args(told("deploy/kubernetes/serve.yaml", "#   facedex "))
        .env_remove("FACEDEX_COLLECTION");
    make.current_dir(space.path("keys"));
    let key = run(make).expect(0);
    let running = Api::run(pod.command(&space, &pod.arguments));
    assert_eq!(
        get(&format!("{}/v1/collections", running.url), Some(key.stdout.trim())),
        200
    );
    assert_eq!(get(&format!("{}/v1/collections", running.url), None), 401);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(get(&format!("{}{path}", running.url), None), 200, "{probe}");
    }
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"]
    );
    assert!(std::fs::exists(space.path("work/audit-facedex-serve-0.ndjson")).unwrap());
}

#[test]
fn the_image_s_steps_and_all_variables_are_known_to_the_program() {
    let space = Space::new();
    let dockerfile = read("Dockerfile");
    let mut steps = 0;
    for step in dockerfile.lines().filter(|line| line.starts_with("RUN ")) {
        for command in step.split("facedex models ").skip(1) {
            let words = command.split(['&', ')']).next().unwrap().split_whitespace();
            let arguments: Vec<&str> = std::iter::once("models").chain(words).collect();
            space.run(&arguments).expect(0);
            steps += 1;
        }
    }
    assert_eq!(steps, 2, "fetch, and where the library is");

    let compose = compose(&space);
    let job = documents("deploy/kubernetes/ingest-job.yaml").remove(0);
    let deployment = documents("deploy/kubernetes/serve.yaml").remove(0);
    let containers = [
        service(&compose, "serve"),
        service(&compose, "ingest"),
        pod(&job, &[("JOB_COMPLETION_INDEX", "0")]),
        pod(&deployment, &[("POD_NAME", "p")]),
    ];
    let mut names: Vec<String> = containers.into_iter().flat_map(|c| c.environment.into_keys()).collect();
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("ENV "));
    names.extend(
        lines
            .flat_map(str::split_whitespace)
            .map(|pair| pair.split('=').next().unwrap().to_owned()),
    );
    let help: String = [&["serve", "--help"][..], &["ingest", "--help"]]
        .iter()
        .map(|arguments| space.run(arguments).expect(0).stdout)
        .collect();
    // Read without being flags: places of files, the bucket's access, what Kubernetes itself needs.
    let others = [
        "FACEDEX_CACHE_DIR",
        "ORT_DYLIB_PATH",
        "AWS_",
        "JOB_COMPLETION_INDEX",
        "POD_NAME",
    ];
    for name in names {
        let is_flag = help.contains(&format!("[env: {name}"));
        assert!(
            is_flag || others.iter().any(|other| name.starts_with(other)),
            "{name} sets nothing"
        );
    }
}
