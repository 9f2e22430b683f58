// Plays a broadcast that ends and comes back: plays.mjs URL NAME
import { check, distinctFrames, listed, scenario, tell, waitForPhase, waitForWords, waitUntouched, within } from "./browser.mjs";

const [url, name] = process.argv.slice(2);

/** The loudest sample heard, once there is one that is not silence. */
const heard = () =>
	new Promise((resolve) => {
		const root = document.querySelector("moq-watch").audio.out.root.peek();
		const analyser = root.context.createAnalyser();
		const samples = new Float32Array(analyser.fftSize);
		root.connect(analyser);
		const listen = () => {
			analyser.getFloatTimeDomainData(samples);
			const peak = samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);
			if (peak > 0.01) resolve(peak);
			else requestAnimationFrame(listen);
		};
		listen();
	});

const audioState = () => document.querySelector("moq-watch").audio.out.context.peek()?.state;
const figure = (page, name) => page.locator(`[data-figure="${name}"]`).innerText();

await scenario(async (newPage) => {
	const page = await newPage();
	await page.goto(url);
	await waitUntouched(page, () => !document.getElementById("sound").hidden);
	await page.getByRole("button", { name: "Turn on sound" }).click();
	await waitForPhase(page, "live");
	check((await listed(page)).join() === name, `listed are ${await listed(page)}`);
	check(page.url() === `${url}#${name}`, `the address is ${page.url()}`);
	const frames = await within(page.evaluate(distinctFrames, 60), "distinct frames");

	await page.waitForFunction(() => document.getElementById("sound").hidden);
	const peak = await within(page.evaluate(heard), "sound");
	const sound = await page.evaluate(audioState);

	await page.keyboard.press("m");
	await page.getByRole("button", { name: "Sound on", pressed: true }).waitFor();
	await page.keyboard.press("m");
	await page.getByRole("button", { name: "Mute", pressed: false }).waitFor();

	await page.locator('[data-figure="Latency"]', { hasText: /\d+ ms/ }).waitFor();
	await page.locator('[data-figure="Size"]', { hasText: /frames/ }).waitFor();
	tell("playing", {
		frames,
		peak,
		sound,
		isolated: await page.evaluate(() => crossOriginIsolated),
		picture: await figure(page, "Picture"),
		size: await figure(page, "Size"),
		latency: Number.parseInt((await figure(page, "Latency")).replace(/^\D+/, ""), 10),
	});

	await waitForWords(page, `“${name}” has ended`);
	check((await listed(page)).length === 0, `listed are ${await listed(page)}`);
	tell("ended");

	await waitForPhase(page, "live");
	check((await listed(page)).join() === name, `listed are ${await listed(page)}`);
	await within(page.evaluate(distinctFrames, 30), "distinct frames after it came back");
	tell("back", { violations: await page.evaluate(() => violations) });
});
