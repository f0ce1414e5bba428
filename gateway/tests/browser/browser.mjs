// A headless Chromium that knows the gateway under test by name and by its CA, and what every page
// of it has to hold.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

/** What the Rust test says of what it started. */
export const about = JSON.parse(process.argv[2]);

/** Runs `flow` with a browser; the process fails if it does. */
export async function withBrowser(flow) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      // Every name of the test is this machine; no other name is looked up.
      '--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      // Certificates of the internal CA are good, all others are checked.
      `--ignore-certificate-errors-spki-list=${about.spki}`,
    ],
  });
  try {
    await flow(browser);
  } finally {
    await browser.close();
  }
}

/** A fresh browser profile with one tab, in which no page may break its own rules. */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const broken = [];
  page.on('console', (message) => {
    if (/content security policy|refused to/i.test(message.text())) broken.push(message.text());
  });
  page.on('pageerror', (error) => broken.push(String(error)));
  return {
    context,
    page,
    /** Whether all went by the rules so far. */
    check: () => assert.deepEqual(broken, []),
  };
}

export async function heading(page, text) {
  assert.equal(await page.locator('h1').textContent(), text, page.url());
}

/** Looks at a page in both schemes and two sizes, and takes pictures if somebody wants them. */
export async function look(page, name) {
  for (const [width, height] of [[390, 844], [1440, 900]]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
      assert.ok(wide <= width, `${name} is ${wide} wide on a screen of ${width}`);
      if (about.screenshots) {
        const path = `${about.screenshots}/${name}-${width}-${colorScheme}.png`;
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
  const unlabelled = await page.evaluate(() =>
    [...document.querySelectorAll('input:not([type=hidden])')]
      .filter((input) => input.labels.length === 0)
      .map((input) => input.name));
  assert.deepEqual(unlabelled, [], name);
}
