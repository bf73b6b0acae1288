//! A cache that several machines share, in a bucket of a real S3-compatible store (moto).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Outputs, Place, assert_same};
use crate::end_to_end::bench::{missing, tools};
use crate::server::Server;

/// moto's own server, with a bucket.
struct Store {
    server: Child,
    endpoint: String,
    python_path: PathBuf,
}

impl Store {
    fn start() -> Option<Self> {
        let Some(python_path) = std::env::var_os("LEANFS_TEST_MOTO").map(PathBuf::from) else {
            return missing("LEANFS_TEST_MOTO (`cargo xtask test` installs moto and sets it)");
        };
        tools(&["python3"])?;
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]).env("PYTHONPATH", &python_path);
        let mut server =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("python3 is there");
        let said = BufReader::new(server.stderr.take().expect("it is piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let endpoint = lines
            .find_map(|line| Some(line.split_once("Running on ")?.1.trim().to_owned()))
            .expect("it runs");
        // Nobody may be kept waiting by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let store = Self { server, endpoint, python_path };
        store.python("s3.create_bucket(Bucket='team')", &[]);
        Some(store)
    }

    /// Runs a script of boto3, Amazon's own client; what it prints.
    fn python(&self, script: &str, arguments: &[&str]) -> String {
        let before = format!(
            "import sys, boto3\ns3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1')\n",
            self.endpoint
        );
        let mut command = Command::new("python3");
        command.arg("-c").arg(before + script).args(arguments).env("PYTHONPATH", &self.python_path);
        command.env("AWS_ACCESS_KEY_ID", "machine").env("AWS_SECRET_ACCESS_KEY", "secret");
        let output = command.output().expect("python3 is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The names of all objects.
    fn names(&self) -> Vec<String> {
        let script = "for page in s3.get_paginator('list_objects_v2').paginate(Bucket='team'):\n  \
                      for thing in page.get('Contents', []): print(thing['Key'])";
        self.python(script, &[]).lines().map(str::to_owned).collect()
    }

    /// Everything, as files.
    fn download(&self, to: &Path) {
        let script = "import os\nfor page in s3.get_paginator('list_objects_v2').paginate(Bucket='team'):\n  \
                      for thing in page['Contents']:\n    path = os.path.join(sys.argv[1], thing['Key'])\n    \
                      os.makedirs(os.path.dirname(path), exist_ok=True)\n    s3.download_file('team', thing['Key'], path)";
        self.python(script, &[to.to_str().expect("UTF-8")]);
    }

    /// Puts something else in the place of every object whose name begins so.
    fn poison(&self, prefix: &str, text: &str) {
        let script = "for page in s3.get_paginator('list_objects_v2').paginate(Bucket='team', Prefix=sys.argv[1]):\n  \
                      for thing in page['Contents']: s3.put_object(Bucket='team', Key=thing['Key'], Body=sys.argv[2])";
        self.python(script, &[prefix, text]);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A machine: a cache of its own.
struct Machine<'a> {
    place: &'a Place,
    mirror: &'a Server,
    address: String,
    key: &'a str,
}

impl Machine<'_> {
    fn run(&self, cache: &Path, write: bool) -> (Outputs, String) {
        let mut command = self.place.bench.leanfs(["assemble", "--compress", "zstd:1"]);
        command.arg("--release").arg(&self.place.release).arg("-o").arg(self.place.out());
        for pair in self.place.mirror.flags().chunks(2) {
            let [flag, value] = pair else { continue };
            command.arg(flag);
            match value.strip_prefix(&self.place.mirror.directory) {
                Ok(below) if flag.as_os_str() == "--repository" => {
                    command.arg(self.mirror.url(&format!("/mirror/{}", below.display())))
                }
                _ => command.arg(value),
            };
        }
        command.env("LEANFS_CACHE_DIR", cache).env("LEANFS_SHARED_CACHE", &self.address);
        command.env("AWS_ACCESS_KEY_ID", "machine").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("LEANFS_SHARED_CACHE_KEY", self.key);
        if write {
            command.arg("--shared-cache-write");
        }
        let output = command.output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let made = super::outputs(&self.place.out());
        fs_err::remove_dir_all(self.place.out()).expect("removed");
        (made, said)
    }
}

#[test]
fn one_machine_fills_it_and_others_hit() {
    let test = || -> Option<()> {
        let store = Store::start()?;
        let place = Place::new()?;
        let mirror = Server::http();
        mirror.put_directory("/mirror", place.mirror.directory.clone());
        let packages = || mirror.requests().iter().filter(|request| request.target.ends_with(".apk")).count();
        let address = format!("s3://team/ci/leanfs?endpoint={}&region=us-east-1", store.endpoint);
        let machine = |key| Machine { place: &place, mirror: &mirror, address: address.clone(), key };

        let (first, said) = machine("one key").run(&place.bench.path("first"), true);
        assert!(!said.contains("shared cache"), "{said}");
        let fetched = packages();
        assert!(fetched > 3, "from the mirror");
        let names = store.names();
        for kind in ["objects/", "names/", "derived/memo-", "derived/member-"] {
            assert!(names.iter().any(|name| name.starts_with(&format!("ci/leanfs/{kind}"))), "{names:?}");
        }

        // Another machine, which had nothing.
        let second = place.bench.path("second");
        let (made, said) = machine("one key").run(&second, false);
        assert_same(&made, &first, "on another machine");
        assert!(!said.contains("shared cache"), "{said}");
        assert_eq!(packages(), fetched, "the mirror is asked for its indexes alone");
        let taken: Vec<PathBuf> = super::derived(&second);
        assert!(taken.iter().any(|path| path.display().to_string().contains("member-")), "{taken:?}");
        place.verify(&second);

        // So does a web server with the same files.
        let files = place.bench.path("files");
        store.download(&files);
        mirror.put_directory("/shared", files.join("ci/leanfs"));
        let reader = Machine { address: mirror.url("/shared"), ..machine("one key") };
        let (made, said) = reader.run(&place.bench.path("reader"), false);
        assert_same(&made, &first, "from a web server");
        assert!(!said.contains("shared cache"), "{said}");
        assert_eq!(packages(), fetched);

        // One with another key takes what others worked out from nobody.
        let (made, said) = machine("another key").run(&place.bench.path("third"), false);
        assert_same(&made, &first, "with another key");
        assert!(said.contains("was not made by a machine with the same key: it is not used"), "{said}");
        assert_eq!(packages(), fetched, "packages are verified by their indexes");

        // Somebody changes what is there.
        store.poison("ci/leanfs/derived/", "poison");
        let (made, said) = machine("one key").run(&place.bench.path("fourth"), false);
        assert_same(&made, &first, "from poisoned results");
        assert!(said.contains("was not made by a machine with the same key: it is not used"), "{said}");
        store.poison("ci/leanfs/objects/", "poison");
        let fifth = place.bench.path("fifth");
        let (made, said) = machine("one key").run(&fifth, false);
        assert_same(&made, &first, "from poisoned objects");
        assert!(said.contains("is something else, with the SHA-256"), "{said}");
        assert_eq!(packages(), 2 * fetched, "they come from the mirror then");
        place.verify(&fifth);

        // It goes away.
        let endpoint = store.endpoint.clone();
        drop(store);
        let (made, said) = machine("one key").run(&place.bench.path("sixth"), true);
        assert_same(&made, &first, "without the store");
        assert_eq!(said.matches("is not used").count(), 1, "it is told once: {said}");
        assert!(!said.contains("secret") && !said.contains(&endpoint), "{said}");
        Some(())
    };
    let _ = test();
}
