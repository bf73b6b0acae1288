//! The page of `analyze --html`, in a real browser: Chromium without a window.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::report::html;
use leanfs::report::manifest::Manifest;
use serde_json::Value;

/// The manifest that the unit tests have too.
fn sample() -> Manifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/manifest/sample.json");
    Manifest::read(&path).expect("a manifest")
}

/// Chromium, or a visible skip; a failure in CI.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| {
            ["chromium", "chromium-browser", "google-chrome"].map(|name| directory.join(name))
        })
        .find(|program| program.is_file());
    if found.is_none() {
        assert!(
            !std::env::var("CI").is_ok_and(|ci| ci == "true"),
            "chromium is missing, and CI has to have it"
        );
        println!("SKIP: chromium is missing");
    }
    found
}

/// What a page has become in a window of this width.
struct Rendered {
    /// The document when its script has run.
    dom: String,
    /// Messages on the console.
    console: Vec<String>,
}

/// Opens a page, and a page around it: Chromium's windows are not narrower than 500 pixels, a frame may be.
fn render(chromium: &Path, page: &str, around: Option<&str>, width: u32) -> Rendered {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut file = directory.path().join("page.html");
    fs_err::write(&file, page).expect("written");
    if let Some(around) = around {
        file = directory.path().join("around.html");
        fs_err::write(&file, around).expect("written");
    }
    let mut command = Command::new(chromium);
    // Chromium's own sandbox wants user namespaces, which a container may not have; nothing is loaded from elsewhere.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]);
    command.arg(format!("--window-size={width},900"));
    command.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
    command.arg(format!("file://{}", file.display()));
    let output = command.output().expect("chromium starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Rendered {
        dom: String::from_utf8(output.stdout).expect("Chromium writes UTF-8"),
        console: stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
    }
}

/// The page in a frame of this width, with `script` after its own (which its security policy would not let run), and
/// what that script gives.
fn probe(chromium: &Path, page: &str, width: u32, script: &str) -> Value {
    let (before, policy) =
        page.split_once("<meta http-equiv=\"Content-Security-Policy\"").expect("it has a policy");
    let (_, after) = policy.split_once('>').expect("the element ends");
    let probe = format!(
        "<script>addEventListener(\"load\", async () => {{\n\
         const wait = () => new Promise((done) => setTimeout(done, 200));\nawait wait();\n\
         const result = await (async () => {{ {script} }})();\n\
         parent.postMessage(JSON.stringify(result), \"*\");\n}});</script></body>"
    );
    let around = format!(
        "<!DOCTYPE html><body><iframe src=\"page.html\" width=\"{width}\" height=\"800\" frameborder=\"0\"></iframe>\n\
         <pre></pre><script>addEventListener(\"message\", (event) => {{\n\
         document.querySelector(\"pre\").textContent = \"@@\".concat(\"@\", event.data, \"@@\", \"@\");\n}});</script></body>"
    );
    let page = format!("{before}{after}").replace("</body>", &probe);
    let rendered = render(chromium, &page, Some(&around), 1400);
    assert_eq!(rendered.console, [""; 0]);
    let text = rendered.dom.rsplit("@@@").nth(1).expect("the probe has run").to_owned();
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_page_renders_without_a_complaint() {
    let Some(chromium) = chromium() else { return };
    let page = html::page(&sample());
    for width in [500, 1280] {
        let rendered = render(&chromium, &page, None, width);
        assert_eq!(rendered.console, [""; 0], "errors on the console");
        // Its own script has run, under its own policy.
        assert!(rendered.dom.matches("class=\"tile ").count() > 10, "the map has tiles");
    }
}

#[test]
fn the_map_is_covered_and_nothing_overflows() {
    let Some(chromium) = chromium() else { return };
    let page = html::page(&sample());
    for width in [360, 390, 768, 1280] {
        let seen = probe(
            &chromium,
            &page,
            width,
            r#"
            const root = document.documentElement;
            const overflow = () => root.scrollWidth - root.clientWidth;
            const map = document.getElementById("map").getBoundingClientRect();
            const tiles = [...document.querySelectorAll(".tile.d0")].map((tile) => {
              const box = tile.getBoundingClientRect();
              return [box.left - map.left, box.top - map.top, box.right - map.left, box.bottom - map.top];
            });
            const closed = overflow();
            document.querySelectorAll("details").forEach((details) => { details.open = true; });
            return {
              width: innerWidth, map: [map.width, map.height], tiles, closed, open: overflow(),
              small: [...document.querySelectorAll("summary, #crumbs a")].filter((target) => target.getBoundingClientRect().height < 24).length,
            };
            "#,
        );
        assert_eq!(seen["width"], width);
        assert_eq!((&seen["closed"], &seen["open"]), (&0.into(), &0.into()), "it overflows at {width}");
        assert_eq!(seen["small"], 0, "targets are large enough for a finger");
        let numbers = |value: &Value| -> Vec<f64> {
            value
                .as_array()
                .expect("a list")
                .iter()
                .map(|number| number.as_f64().expect("a number"))
                .collect()
        };
        let map = numbers(&seen["map"]);
        assert!(map[0] > f64::from(width) * 0.85 && map[1] > 300.0, "{map:?} at {width}");
        let tiles: Vec<Vec<f64>> = seen["tiles"].as_array().expect("a list").iter().map(numbers).collect();
        assert!(tiles.len() >= 5, "{tiles:?}");
        let mut area = 0.0;
        for (index, tile) in tiles.iter().enumerate() {
            assert!(tile[0] > -0.5 && tile[1] > -0.5, "{tile:?}");
            assert!(tile[2] < map[0] + 0.5 && tile[3] < map[1] + 0.5, "{tile:?} in {map:?}");
            // With the gap to its neighbours, which is 2 pixels.
            area += (tile[2] - tile[0] + 2.0) * (tile[3] - tile[1] + 2.0);
            for other in &tiles[..index] {
                let apart =
                    tile[0] > other[2] || other[0] > tile[2] || tile[1] > other[3] || other[1] > tile[3];
                assert!(apart, "{tile:?} and {other:?} overlap");
            }
        }
        let whole = (map[0] + 2.0) * (map[1] + 2.0);
        assert!((area / whole - 1.0).abs() < 0.01, "tiles cover {area} of {whole} at {width}");
    }
}

#[test]
fn one_can_look_into_it_with_a_mouse_and_with_keys() {
    let Some(chromium) = chromium() else { return };
    let seen = probe(
        &chromium,
        &html::page(&sample()),
        1280,
        r##"
        const map = document.getElementById("map");
        const crumbs = () => [...document.querySelectorAll("#crumbs li")].map((crumb) => crumb.textContent);
        const names = () => [...map.querySelectorAll(".d0 > .name")].map((name) => name.textContent);
        const detail = () => document.getElementById("detail").innerText;
        const key = async (key) => {
          document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
          await wait();
        };
        const tile = (name) => [...map.children].find((tile) => tile.querySelector(".name").textContent === name);
        const seen = { start: [crumbs(), names()], stops: map.querySelectorAll("[tabindex='0']").length };
        tile("OTP applications").click();
        await wait();
        seen.group = [crumbs(), names(), detail()];
        seen.focused = map.contains(document.activeElement);
        const first = document.activeElement;
        await key("ArrowRight");
        seen.moved = document.activeElement !== first && map.contains(document.activeElement);
        seen.stopsThen = map.querySelectorAll("[tabindex='0']").length;
        tile("code_server").click();
        await wait();
        seen.file = [crumbs(), names(), detail(), map.querySelectorAll("[aria-current]").length];
        await key("Escape");
        seen.back = crumbs();
        document.querySelector("#crumbs a").click();
        await wait();
        seen.top = crumbs();
        history.back();
        await wait();
        seen.history = crumbs();
        document.querySelector("a[href^='#part-']").click();
        await wait();
        seen.opened = document.querySelectorAll("details.part[open]").length;
        location.hash = "#map=nowhere/%";
        await wait();
        seen.nowhere = crumbs();
        return seen;
        "##,
    );
    let list = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let image = "initramfs.cpio.xz";
    assert_eq!(list(&seen["start"][0]), [image]);
    let names: BTreeSet<String> = list(&seen["start"][1]).into_iter().collect();
    for name in ["ERTS 15.2.7", "Shared libraries", "OTP applications", "Elixir"] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert_eq!((&seen["stops"], &seen["stopsThen"]), (&1.into(), &1.into()), "one stop for the tab key");
    assert_eq!(list(&seen["group"][0]), [image, "OTP applications"]);
    assert_eq!(list(&seen["group"][1]), ["kernel 10.2.7", "stdlib 6.2.2"]);
    assert!(
        seen["group"][2]
            .as_str()
            .is_some_and(|text| text.starts_with("OTP applications: 46.6 kB of the image, 2.1 %"))
    );
    assert_eq!((&seen["focused"], &seen["moved"]), (&true.into(), &true.into()));
    assert_eq!(list(&seen["file"][0]), [image, "OTP applications", "kernel 10.2.7", "code_server"]);
    assert_eq!(list(&seen["file"][1]), ["code_server", "logger", "code"]);
    let detail = seen["file"][2].as_str().expect("a text");
    assert!(detail.contains("/kernel-10.2.7/ebin/code_server.beam: 12.0 kB of the image"), "{detail}");
    assert!(detail.contains("code calls it"), "{detail}");
    assert_eq!(seen["file"][3], 1);
    assert_eq!(list(&seen["back"]), [image, "OTP applications"]);
    assert_eq!(list(&seen["top"]), [image]);
    assert_eq!(list(&seen["history"]), [image, "OTP applications"]);
    assert_eq!(seen["opened"], 1);
    assert_eq!(list(&seen["nowhere"]), [image]);
}

/// Names are from outside: none of them becomes a part of the page.
#[test]
fn no_name_becomes_markup() {
    const HOSTILE: &str =
        "</script><img src=x onerror=document.title='owned'>\"'><svg onload=document.title=`owned`>";
    /// Changes every text that may be anything.
    fn make_hostile(value: &mut Value) {
        match value {
            Value::String(text) => text.push_str(HOSTILE),
            Value::Array(values) => values.iter_mut().for_each(make_hostile),
            Value::Object(fields) => fields
                .iter_mut()
                .filter(|(name, _)| !["kind", "layer", "arch", "prune"].contains(&name.as_str()))
                .for_each(|(_, value)| make_hostile(value)),
            _ => {}
        }
    }
    let mut manifest = serde_json::to_value(sample()).expect("JSON");
    manifest["notes"] = serde_json::json!(["a note"]);
    make_hostile(&mut manifest);
    let manifest: Manifest = serde_json::from_value(manifest).expect("still a manifest");
    let page = html::page(&manifest);
    assert!(
        !page.contains("<img") && !page.contains("<svg onload") && page.matches("</script>").count() == 1
    );

    let Some(chromium) = chromium() else { return };
    let rendered = render(&chromium, &page, None, 500);
    assert_eq!(rendered.console, [""; 0]);
    let seen = probe(
        &chromium,
        &page,
        390,
        r#"return {
          title: document.title,
          images: document.querySelectorAll("img, svg[onload], iframe, object, embed").length,
          handlers: [...document.querySelectorAll("*")].filter((element) => [...element.attributes].some((a) => a.name.startsWith("on"))).length,
          scripts: document.scripts.length,
          overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
          named: document.querySelectorAll("details.part .path").length,
        };"#,
    );
    assert!(
        seen["title"].as_str().is_some_and(|title| title.contains("<img") && !title.starts_with("owned")),
        "{seen}"
    );
    assert_eq!((&seen["images"], &seen["handlers"]), (&0.into(), &0.into()));
    assert_eq!(seen["scripts"], 2, "the page's own and the probe's");
    assert_eq!(seen["named"], manifest.files.len());
    assert_eq!(seen["overflow"], 0);
}
