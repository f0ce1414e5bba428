// The first start: somebody opens the printed link, makes the first account, and signs in with it.
import assert from 'node:assert/strict';
import { about, heading, look, person, withBrowser } from './browser.mjs';

const { link, origin, site } = about;
const PASSWORD = 'correct horse battery';

await withBrowser(async (browser) => {
  const { context, page, check } = await person(browser);
  const before = await page.goto(`${origin}/auth/login`);
  assert.equal(before.status(), 503);
  await look(page, 'not-set-up');

  await page.goto(link);
  await heading(page, 'Set up this gateway');
  await look(page, 'set-up');
  const fill = async (password, again) => {
    await page.getByLabel('Name').fill('root');
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByLabel('Password again').fill(again);
    await page.getByRole('button', { name: 'Create the account' }).click();
  };
  await fill(PASSWORD, 'another one');
  assert.match(await page.getByRole('alert').textContent(), /not the same/);
  assert.equal(await page.getByLabel('Name').inputValue(), 'root');
  await look(page, 'set-up-wrong');
  await fill(PASSWORD, PASSWORD);
  await heading(page, 'Hello, root');
  assert.equal(await page.locator('dd').last().textContent(), 'Administrator');

  const used = await page.goto(link);
  assert.equal(used.status(), 410);
  await heading(page, 'This link is no longer good');
  await look(page, 'set-up-used');

  await page.goto(`${origin}/auth/logout`);
  // A site that wants a session sends its visitors here; the form's answer leads back to it.
  await page.goto(`${site}/inside`);
  assert.equal(new URL(page.url()).origin, origin);
  await heading(page, 'Sign in');
  await page.getByLabel('Name').fill('Root');
  await page.getByLabel('Password').fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  assert.equal(await page.getByRole('alert').textContent(), 'The name or the password is wrong.');
  await look(page, 'login-wrong');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${site}/inside`);
  assert.equal(await page.textContent('body'), 'members');
  await page.goto(`${origin}/`);
  await heading(page, 'Hello, root');
  check();
  await context.close();
});
