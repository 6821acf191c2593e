//! A headless Chromium, driven through WebDriver.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::{By, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver, WebElement};

use crate::process::{Running, free_port, installed, repository};
use crate::{client, wait};

/// How long the driver may take to start, and a page to show what is expected.
const LIMIT: Duration = Duration::from_secs(30);

/// A browser with one window, whose paths are those of one site.
pub struct Browser {
    driver: WebDriver,
    base: String,
    // After the driver, which ends the session with it.
    _chromedriver: Running,
    _folder: TempDir,
}

impl Browser {
    /// Starts a browser for the site at `base`.
    pub async fn start(base: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("funless-").tempdir().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new(installed("chromedriver", &["/usr/lib/chromium"]));
        command.arg(format!("--port={port}"));
        // The profile must not be that of the user who runs the tests.
        command.env("HOME", folder.path()).env("TMPDIR", folder.path());
        let mut chromedriver = Running::start("chromedriver", &mut command, &folder.path().join("log"));
        let (url, http) = (format!("http://127.0.0.1:{port}"), client::http());
        let status = format!("{url}/status");
        chromedriver
            .ready(LIMIT, async || {
                http.get(&status).send().await.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
        let mut capabilities = DesiredCapabilities::chrome();
        for flag in [
            "--headless=new",
            // The browser only visits the mesh of the test, and tests may run as root in a container.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--force-color-profile=srgb",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ] {
            capabilities.add_arg(flag).expect("an argument");
        }
        let driver = WebDriver::new(&url, capabilities).await.expect("a session of the browser");
        Self { driver, base: base.to_owned(), _chromedriver: chromedriver, _folder: folder }
    }

    /// Ends the browser.
    pub async fn quit(self) {
        self.driver.quit().await.expect("the session ends");
    }

    /// Opens a path of the site.
    pub async fn open(&self, path: &str) {
        self.open_url(&format!("{}{path}", self.base)).await;
    }

    /// Opens a URL.
    pub async fn open_url(&self, url: &str) {
        self.driver.goto(url).await.unwrap_or_else(|error| panic!("cannot open {url}: {error}"));
    }

    /// The path of the page that is open, with its query.
    pub async fn path(&self) -> String {
        let url = self.driver.current_url().await.expect("a page");
        url.as_str().strip_prefix(&self.base).unwrap_or(url.as_str()).to_owned()
    }

    /// The first element that this CSS selector selects, as soon as there is one.
    pub async fn find(&self, selector: &str) -> WebElement {
        let what = format!("{selector} is on the page");
        wait::until(&what, LIMIT, async || self.driver.find(By::Css(selector)).await.ok()).await
    }

    /// The number of elements that this selector selects now.
    pub async fn count(&self, selector: &str) -> usize {
        self.driver.find_all(By::Css(selector)).await.map_or(0, |found| found.len())
    }

    /// The text of an element, as a reader sees it.
    pub async fn text(&self, selector: &str) -> String {
        self.find(selector).await.text().await.expect("a text")
    }

    /// Waits until an element contains this text.
    pub async fn reads(&self, selector: &str, text: &str) {
        let what = format!("{selector} reads {text:?}");
        wait::until(&what, LIMIT, async || {
            let found = self.driver.find(By::Css(selector)).await.ok()?;
            found.text().await.ok()?.contains(text).then_some(())
        })
        .await;
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        element.scroll_into_view().await.expect("the element can be shown");
        element.click().await.unwrap_or_else(|error| panic!("cannot click on {selector}: {error}"));
    }

    /// Replaces the text of a field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.expect("a field");
        field.send_keys(text).await.expect("the field takes a text");
    }

    /// Chooses a file for a field.
    pub async fn choose_file(&self, selector: &str, path: &Path) {
        let field = self.find(selector).await;
        field.send_keys(path.to_string_lossy().as_ref()).await.expect("the field takes a file");
    }

    /// Runs a script in the page and returns its value.
    pub async fn run(&self, script: &str) -> Value {
        let value = self.driver.execute(script, Vec::new()).await.expect("the script runs");
        value.json().clone()
    }

    /// Sends a command of the Chrome DevTools Protocol.
    async fn command(&self, name: &str, parameters: Value) {
        self.driver.cdp().send_raw(name, parameters).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Turns scripts of pages off or on.
    pub async fn allow_scripts(&self, allow: bool) {
        self.command("Emulation.setScriptExecutionDisabled", json!({ "value": !allow })).await;
    }

    /// Sets the size of the window in CSS pixels, with `scale` device pixels each.
    pub async fn resize(&self, width: u32, height: u32, scale: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Prefers dark or light pages.
    pub async fn prefer_dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Stores a picture of the window.
    pub async fn screenshot(&self, path: &Path) {
        self.driver.screenshot(path).await.expect("a picture");
    }

    /// What axe-core finds wrong with the page: the rules, each with the elements that break it.
    pub async fn accessibility_violations(&self) -> Vec<String> {
        let path = repository().join("target/npm/node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; run scripts/test, which installs it", path.display())
        });
        self.run(&axe).await;
        let script = "const done = arguments[0];
            axe.run(document, {resultTypes: ['violations']}).then(
                (result) => done(result.violations.flatMap(({id, nodes}) =>
                    nodes.map((node) => `${id}: ${node.html.slice(0, 120)} ${node.failureSummary}`))),
                (error) => done([String(error)]));";
        let found = self.driver.execute_async(script, Vec::new()).await.expect("axe-core runs");
        serde_json::from_value(found.json().clone()).expect("a list of texts")
    }
}
