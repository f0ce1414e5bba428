// Signing in and out with providers and with a local account, as people and as other sites try it.
import assert from 'node:assert/strict';
import { about, heading, look, person, withBrowser } from './browser.mjs';

const { origin, site, standIn } = about;
const SESSION = '__Host-portunus_session';

const session = async (context) =>
  (await context.cookies(origin)).find((cookie) => cookie.name === SESSION);

async function signIn(page, provider, button) {
  await page.goto(`${origin}/auth/login`);
  await page.getByRole('link', { name: `Continue with ${provider}` }).click();
  await page.getByRole('button', { name: button, exact: true }).click();
}

async function withProviders(browser) {
  for (const [provider, role] of [['GitHub', 'Administrator'], ['GitLab', 'User']]) {
    const { context, page, check } = await person(browser);
    await page.goto(`${origin}/`);
    await heading(page, 'Welcome');
    await page.getByRole('link', { name: 'Sign in' }).click();
    await look(page, 'login');
    let callback;
    page.on('request', (request) => {
      if (request.url().includes('/callback?')) callback = request.url();
    });
    await signIn(page, provider, 'Approve as alice');
    await heading(page, 'Hello, alice');
    assert.equal(page.url(), `${origin}/`);
    assert.equal(await page.locator('dd').last().textContent(), role);
    await look(page, 'account');

    const cookie = await session(context);
    assert.deepEqual(
      [cookie.domain, cookie.path, cookie.httpOnly, cookie.secure, cookie.sameSite],
      ['gw.test', '/', true, true, 'Lax']);
    assert.ok(cookie.expires > Date.now() / 1000 + 6 * 24 * 3600);
    assert.equal(await page.evaluate(() => document.cookie), '');

    // Another host of the same gateway gets nothing.
    const [request] = await Promise.all([
      page.waitForRequest(`${site}/`),
      page.goto(`${site}/`),
    ]);
    assert.equal((await request.allHeaders()).cookie, undefined);

    // The callback's address is used up.
    const again = await page.goto(callback);
    assert.equal(again.status(), 400);
    await heading(page, 'Please sign in again');
    check();
    await context.close();
  }
}

async function refused(browser) {
  const { context, page, check } = await person(browser);
  await signIn(page, 'GitHub', 'Deny');
  await heading(page, 'Not signed in');
  await look(page, 'denied');
  assert.equal(await session(context), undefined);
  await page.getByRole('link', { name: 'Try again' }).click();
  await heading(page, 'Sign in');
  check();
  await context.close();
}

async function signOut(browser) {
  const { context, page, check } = await person(browser);
  await signIn(page, 'GitHub', 'Approve as carol');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await heading(page, 'Welcome');
  assert.equal(await session(context), undefined);

  // Another site leads to the sign-out page, which asks; its form is refused.
  await signIn(page, 'GitHub', 'Approve as carol');
  await page.goto(`${standIn}/elsewhere`);
  await page.evaluate((to) => { location.href = to; }, `${origin}/auth/logout`);
  await page.waitForURL(`${origin}/auth/logout`);
  await heading(page, 'Sign out?');
  await look(page, 'sign-out');
  await page.goto(`${standIn}/elsewhere`);
  await page.evaluate((to) => {
    const form = document.createElement('form');
    form.method = 'post';
    form.action = to;
    document.body.append(form);
    form.submit();
  }, `${origin}/auth/login`);
  await page.waitForURL(`${origin}/auth/login`);
  await heading(page, 'Please send that again');
  await page.goto(`${origin}/`);
  await heading(page, 'Hello, carol');
  // Typed into the address bar it is at once.
  await page.goto(`${origin}/auth/logout`);
  await heading(page, 'Welcome');
  check();
  await context.close();
}

async function revoked(browser) {
  const { context, page, check } = await person(browser);
  await signIn(page, 'GitLab', 'Approve as carol');
  await heading(page, 'Hello, carol');
  await page.goto(`${origin}/api/v1/sessions`);
  const ended = await page.evaluate(async () => {
    const json = async (path) => (await fetch(path)).json();
    const [me, sessions] = [await json('/api/v1/me'), await json('/api/v1/sessions')];
    const headers = { 'X-CSRF-Token': me.csrf_token };
    const answers = [];
    for (const { id } of sessions.items ?? sessions.data ?? sessions) {
      const answer = await fetch(`/api/v1/sessions/${id}`, { method: 'DELETE', headers });
      answers.push(answer.status);
    }
    return answers;
  });
  assert.ok(ended.length > 0 && ended.every((status) => status < 300 || status === 401), `${ended}`);
  await page.goto(`${origin}/`);
  await heading(page, 'Welcome');
  check();
  await context.close();
}

async function neverElsewhere(browser) {
  const { context, page, check } = await person(browser);
  const hostile = [
    'https://example.com/', '//example.com', '/\\example.com', '/%2Fexample.com', 'https:example.com',
    '/.//example.com', '/\t/example.com', 'javascript:alert(1)', `${site}.example.com/`,
    `${site}@example.com/`, 'http://app.test/',
  ];
  const visit = async (...paths) => {
    for (const to of hostile) {
      for (const path of paths) {
        await page.goto(`${origin}${path}?return_to=${encodeURIComponent(to)}`);
        assert.equal(new URL(page.url()).origin, origin, to);
      }
    }
  };
  await visit('/auth/github', '/auth/logout');
  await look(page, 'welcome');
  await signIn(page, 'GitHub', 'Approve as alice');
  await visit('/auth/login');
  check();
  await context.close();
}

/** Without scripts, by the keyboard alone. */
async function wrongPassword(browser) {
  const { context, page, check } = await person(browser, { javaScriptEnabled: false });
  await page.goto(`${origin}/auth/login`);
  await page.getByLabel('Name').fill('nobody');
  await page.getByLabel('Password').fill('not the password');
  await page.keyboard.press('Enter');
  assert.equal(await page.getByRole('alert').textContent(), 'The name or the password is wrong.');
  assert.equal(await page.getByLabel('Name').inputValue(), 'nobody');
  assert.equal(await page.getByLabel('Password').inputValue(), '');
  check();
  await context.close();
}

await withBrowser(async (browser) => {
  for (const flow of [withProviders, refused, signOut, revoked, neverElsewhere, wrongPassword]) {
    console.log(flow.name);
    await flow(browser);
  }
});
