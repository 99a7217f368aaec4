//! A browser, and what a person does with it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Dev, PATIENCE};

/// The pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// The widths at which pages are judged: a laptop's and a phone's.
pub const WIDE: u32 = 1280;
pub const NARROW: u32 = 390;

/// Flags that make the browser look the same everywhere and call nobody.
const FLAGS: [&str; 12] = [
    "--headless=new",
    // Containers run tests as root, and have little shared memory.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en",
];

/// A program that was started for this test; the program and those that it started end with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

fn kill_group(leader: u32) {
    let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
    // It may have ended by itself.
    leader.map(|leader| kill_process_group(leader, Signal::KILL));
}

/// Chromium with a profile of its own, on the pages of one server.
pub struct Browser {
    pub client: Client,
    url: String,
    /// The browser's process, which leads a group of its own.
    process: u32,
    _driver: Group,
    _profile: TempDir,
}

impl Browser {
    /// A browser for the pages of a server.
    pub async fn start(dev: &Dev) -> Browser {
        let chromium = program("chromium", "chromium");
        let mut driver = Command::new(program("chromedriver", "chromium-driver"));
        let driver = driver.arg("--port=0").process_group(0).stdin(Stdio::null());
        let driver = driver.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut driver = Group(driver);
        let mut lines = BufReader::new(driver.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says on which port it listens");
        // Its later output is read, so that it is never kept waiting.
        std::thread::spawn(move || lines.for_each(drop));

        let profile = tempfile::tempdir().unwrap();
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({"binary": chromium, "args": flags});
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
        let process = client.capabilities().and_then(|told| told.get("goog:processID")?.as_u64());
        let process = process.and_then(|id| u32::try_from(id).ok()).expect("chromedriver names the browser's process");
        let browser = Browser { client, url: dev.url.clone(), process, _driver: driver, _profile: profile };
        browser.look(WIDE, false).await;
        browser
    }

    /// A browser that is signed in with the token of the server's developer.
    pub async fn signed_in(dev: &Dev) -> Browser {
        let browser = Browser::start(dev).await;
        browser.sign_in(&dev.token).await;
        browser
    }

    /// Signs in on the page for it.
    pub async fn sign_in(&self, token: &str) {
        self.open("/ui/sign-in").await;
        self.fill("#token", token).await;
        self.press("Sign in").await;
        self.until_path("/ui").await;
    }

    /// Opens a page of the server, or a whole address.
    pub async fn open(&self, path: &str) {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.client.goto(&url).await.unwrap();
    }

    /// Sets how wide the window is, and which colours its reader prefers.
    pub async fn look(&self, width: u32, dark: bool) {
        let height = if width < 600 { 844 } else { 800 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            // A moving element is never still when it is judged.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(Devtools { command, parameters }).await.unwrap()
    }

    /// The result of a script in the page.
    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// The text that is shown.
    pub async fn text(&self) -> String {
        let text = self.client.execute("return document.body ? document.body.innerText : ''", Vec::new()).await;
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The path of the page, with its query.
    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Waits until a condition holds; `what` names it when it does not come.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, mut is_so: impl FnMut() -> F) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            if Instant::now() > deadline {
                panic!("not in time: {what}; at {} the page shows:\n{}", self.path().await, self.text().await);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        self.until(&format!("{text:?} is shown"), || async { self.text().await.contains(text) }).await;
    }

    /// Waits until the page is the one at this path, whatever its query, and whole.
    pub async fn until_path(&self, path: &str) {
        let is_there = || async {
            let is_whole = self.client.execute("return document.readyState", Vec::new()).await;
            is_whole.is_ok_and(|state| state == "complete") && self.path().await.split('?').next() == Some(path)
        };
        self.until(&format!("the page {path} is open"), is_there).await;
    }

    /// The element that a CSS selector names, once it is there.
    pub async fn find(&self, css: &str) -> Element {
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await.unwrap()
    }

    /// Writes into a field, in place of what it holds.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses the button or follows the link of this name.
    pub async fn press(&self, name: &str) {
        self.press_within("", name).await;
    }

    /// The same, of those within the element that an XPath names.
    pub async fn press_within(&self, within: &str, name: &str) {
        let path = format!(
            "{within}//button[normalize-space()=\"{name}\"] | {within}//a[normalize-space()=\"{name}\"] | \
             {within}//summary[normalize-space()=\"{name}\"]"
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.press_shown(&path).await {
                Ok(true) => return,
                Ok(false) => "it is not shown".to_owned(),
                Err(error) => error.to_string(),
            };
            // The page may be about to be replaced.
            let shown = self.text().await;
            assert!(Instant::now() < deadline, "cannot press {name:?}: {error}; the page shows:\n{shown}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Presses the first of these elements that is shown, if there is one.
    async fn press_shown(&self, path: &str) -> Result<bool, CmdError> {
        for element in self.client.find_all(Locator::XPath(path)).await? {
            if element.is_displayed().await? {
                element.click().await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Presses keys where the focus is.
    pub async fn keys(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Ends the session of the driver and with it the browser.
    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        kill_group(self.process);
    }
}

/// The path of a program; a test without its browser is a failed one.
fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: `make setup` installs Debian's package {package}"))
}

/// A command of the browser's own protocol, which chromedriver passes on.
#[derive(Debug)]
struct Devtools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(
        &self,
        base: &reqwest::Url,
        session: Option<&str>,
    ) -> Result<reqwest::Url, <reqwest::Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &reqwest::Url) -> (reqwest::Method, Option<String>) {
        (reqwest::Method::POST, Some(json!({"cmd": self.command, "params": self.parameters}).to_string()))
    }
}
