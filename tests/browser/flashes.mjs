// Publishes a picture that flashes and a sound that beeps at the same instants: flashes.mjs URL NAME
// Told are the media times (µs) that the page gave to them, as they reached its encoders, and by how much least (µs) they were
// behind the clock that they are meant to be of: what is further behind was stamped too early.
import { scenario, tell } from "./browser.mjs";
import { FAKE_DEVICES, finish, goOn, publish } from "./publisher.mjs";

const [url, name] = process.argv.slice(2);

/** In the page: the camera is a canvas, the microphone an oscillator, and both are on for 300 ms of each second. */
function clapper() {
	navigator.mediaDevices.getUserMedia = async () => {
		const canvas = document.createElement("canvas");
		canvas.width = 640;
		canvas.height = 352;
		const drawing = canvas.getContext("2d");
		const audio = new AudioContext({ sampleRate: 48000 });
		const tone = new OscillatorNode(audio, { frequency: 1000 });
		const gate = new GainNode(audio, { gain: 0 });
		const into = new MediaStreamAudioDestinationNode(audio, { channelCount: 2 });
		tone.connect(gate).connect(into);
		tone.start();
		await audio.resume();
		let on = false;
		let count = 0;
		const draw = () => {
			drawing.fillStyle = on ? "#fff" : "#000";
			drawing.fillRect(0, 0, 640, 352);
			// Something that moves, or the canvas would give no frames.
			drawing.fillStyle = "#888";
			drawing.fillRect((count++ * 8) % 640, 320, 16, 16);
		};
		setInterval(() => {
			const now = performance.now() % 1000 < 300;
			if (now !== on) {
				on = now;
				gate.gain.setValueAtTime(on ? 0.5 : 0, audio.currentTime);
			}
			draw();
		}, 10);
		return new MediaStream([...canvas.captureStream(30).getVideoTracks(), ...into.stream.getAudioTracks()]);
	};
}

/** In the page: where light and sound begin, by the time stamps of what is to be encoded. */
function watchEncoders() {
	globalThis.onsets = { light: [], sound: [], behind: { light: Infinity, sound: Infinity } };
	const behind = (kind, timestamp) => {
		onsets.behind[kind] = Math.min(onsets.behind[kind], Math.round(performance.now() * 1000 - timestamp));
	};
	const small = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
	let bright = true;
	const { encode: encodePicture } = VideoEncoder.prototype;
	VideoEncoder.prototype.encode = function (frame, options) {
		behind("light", frame.timestamp);
		small.drawImage(frame, 0, 0, 1, 1);
		const before = bright;
		bright = small.getImageData(0, 0, 1, 1).data[0] > 128;
		if (bright && !before) onsets.light.push(frame.timestamp);
		return encodePicture.call(this, frame, options);
	};
	let quiet = 0;
	const { encode: encodeSound } = AudioEncoder.prototype;
	AudioEncoder.prototype.encode = function (data) {
		behind("sound", data.timestamp);
		const samples = new Float32Array(data.numberOfFrames);
		data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
		samples.forEach((sample, index) => {
			if (Math.abs(sample) < 0.1) quiet++;
			else {
				// A tone crosses zero.
				if (quiet > 0.2 * data.sampleRate) onsets.sound.push(data.timestamp + (index * 1e6) / data.sampleRate);
				quiet = 0;
			}
		});
		return encodeSound.call(this, data);
	};
}

await scenario(async (newPage) => {
	const page = await newPage();
	await page.addInitScript(clapper);
	await page.addInitScript(watchEncoders);
	await publish(page, url, name);
	tell("live");
	await goOn();
	tell("onsets", await page.evaluate(() => onsets));
}, FAKE_DEVICES);
finish();
