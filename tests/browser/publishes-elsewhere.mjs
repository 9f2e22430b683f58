// Publishes to a relay that is reached as another machine reaches it: publishes-elsewhere.mjs URL NAME, the URL with http
import { scenario, tell } from "./browser.mjs";
import { FAKE_DEVICES, finish, goOn, publish } from "./publisher.mjs";

const [url, name] = process.argv.slice(2);
const secure = url.replace(/^http:/, "https:");

await scenario(async (newPage) => {
	// As somebody who goes on after the browser's warning of the development certificate.
	const page = await newPage({ ignoreHTTPSErrors: true });
	await publish(page, secure, name);
	tell("live", { host: await page.locator("#relay-host").innerText() });
	await goOn();
}, FAKE_DEVICES);
finish();
