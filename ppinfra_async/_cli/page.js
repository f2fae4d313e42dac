for (const input of document.querySelectorAll(".compare input")) {
  const show = () => input.parentElement.style.setProperty("--at", input.value + "%");
  input.addEventListener("input", show);
  show();
}
