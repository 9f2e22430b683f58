// Reads the clock of tests/common/burnt_clock.rs, which says what it is made of, from the page's canvas and sound.

/**
 * Watches and listens for so long (ms); runs in the page. Times are Unix time in ms.
 *
 * A frame counts as seen at the animation frame that drew it, a sample as heard when it leaves the AudioContext's output by
 * the browser's own account (`getOutputTimestamp`).
 */
export async function readClock(duration) {
	const LEFT = 16, TOP = 16, CELL = 8, COLUMNS = 32, ROWS = 2, UNIT_MS = 0.1;
	const CHIRP_FROM = 1000, CHIRP_TO = 4000, CHIRP_LENGTH = 0.01, ALIKE = 0.6, AUDIBLE = 0.005;
	const WORKLET = `registerProcessor("tap", class extends AudioWorkletProcessor {
		process([input]) {
			if (input[0]) this.port.postMessage({ frame: currentFrame, samples: input[0].slice() });
			return true;
		}
	});`;
	const now = () => performance.timeOrigin + performance.now();
	const player = document.querySelector("moq-watch");

	// Picture.
	const canvas = document.getElementById("canvas");
	const strip = new OffscreenCanvas(COLUMNS * CELL, ROWS * CELL).getContext("2d", { willReadFrequently: true });
	const crc = (bytes) =>
		bytes.reduce((crc, byte) => {
			crc ^= byte << 8;
			for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
			return crc;
		}, 0xffff);
	const code = () => {
		strip.drawImage(canvas, -LEFT, -TOP);
		const { data } = strip.getImageData(0, 0, COLUMNS * CELL, ROWS * CELL);
		const bytes = new Array(8).fill(0);
		for (let cell = 0; cell < ROWS * COLUMNS; cell++) {
			let sum = 0;
			for (let y = 2; y < CELL - 2; y++) {
				for (let x = 2; x < CELL - 2; x++) {
					const line = Math.floor(cell / COLUMNS) * CELL + y;
					sum += data[4 * (line * COLUMNS * CELL + (cell % COLUMNS) * CELL + x) + 1];
				}
			}
			bytes[cell >> 3] = (bytes[cell >> 3] << 1) | (sum > 128 * (CELL - 4) ** 2 ? 1 : 0);
		}
		if (crc(bytes.slice(0, 6)) !== bytes[6] * 256 + bytes[7]) return undefined;
		return bytes.slice(0, 6).reduce((time, byte) => time * 256 + byte, 0) * UNIT_MS;
	};

	// Sound.
	const context = player.audio.out.context.peek();
	const root = player.audio.out.root.peek();
	await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
	const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
	const blocks = [];
	tap.port.onmessage = ({ data }) => blocks.push(data);
	root.connect(tap);

	const picture = [];
	const offsets = [];
	const shown = [];
	let unread = 0;
	let last;
	const end = now() + duration;
	// All callbacks of an animation frame have drawn when the message arrives.
	const drawn = new MessageChannel();
	await new Promise((resolve) => {
		let at;
		drawn.port1.onmessage = () => {
			const time = code();
			if (time === undefined) unread++;
			else if (time !== last) picture.push({ at, late: at - time });
			last = time;
			const { contextTime, performanceTime } = context.getOutputTimestamp();
			if (contextTime > 0) offsets.push(performance.timeOrigin + performanceTime - contextTime * 1000);
			const figure = Number.parseFloat(document.querySelector('[data-figure="Latency"] dd')?.textContent);
			if (figure && figure !== shown.at(-1)) shown.push(figure);
			if (now() < end) requestAnimationFrame(look);
			else resolve();
		};
		const look = () => {
			at = now();
			drawn.port2.postMessage(undefined);
		};
		requestAnimationFrame(look);
	});
	root.disconnect(tap);

	const rate = context.sampleRate;
	const chirp = Float32Array.from({ length: Math.round(CHIRP_LENGTH * rate) }, (_, at) => {
		const time = at / rate;
		const rise = (CHIRP_TO - CHIRP_FROM) / CHIRP_LENGTH;
		const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * time) / CHIRP_LENGTH);
		return window * Math.sin(2 * Math.PI * (CHIRP_FROM * time + (rise * time * time) / 2));
	});
	const samples = new Float32Array(blocks.length * 128);
	blocks.forEach((block, at) => samples.set(block.samples, at * 128));
	const energy = chirp.reduce((sum, value) => sum + value * value, 0);
	const half = chirp.length >> 1;
	const found = [];
	for (let at = 0; at + chirp.length < samples.length; at++) {
		if (!samples.subarray(at + half - 8, at + half + 8).some((sample) => Math.abs(sample) > AUDIBLE)) continue;
		let product = 0, power = 0;
		for (let i = 0; i < chirp.length; i++) {
			product += samples[at + i] * chirp[i];
			power += samples[at + i] ** 2;
		}
		const alike = product / Math.sqrt(power * energy);
		if (alike < ALIKE) continue;
		const before = found.at(-1);
		if (before && at - before.at < chirp.length) {
			if (alike > before.alike) Object.assign(before, { at, alike });
		} else found.push({ at, alike });
	}
	const offset = offsets.sort((a, b) => a - b)[offsets.length >> 1];
	const sound = found.map(({ at }) => {
		const frame = blocks[Math.floor(at / 128)].frame + (at % 128);
		const heard = (frame / rate) * 1000 + offset;
		return { at: heard, late: heard % 1000 };
	});
	return {
		picture,
		sound,
		unread,
		shown,
		skew: Date.now() - now(),
		outputLatency: context.outputLatency * 1000,
		baseLatency: context.baseLatency * 1000,
		buffer: player.sync.out.buffer.peek(),
	};
}
