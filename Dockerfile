# docker build -t zsl .
# docker run --rm -v "$PWD:/work" zsl fit --config shapes.yaml
#
# For GPUs: docker build --build-arg TORCH_INDEX= -t zsl . (several GB), then
# docker run --gpus all --shm-size 8g ..., on a host with NVIDIA's container toolkit.
FROM python:3.12-slim

# PyTorch for CPUs, a tenth of the size of that for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
    "torch>=2.7" "torchvision>=0.22"

COPY . /src
RUN pip install --no-cache-dir '/src[demo,export]' \
    && useradd --create-home --uid 1000 zsl
USER 1000
WORKDIR /work
ENTRYPOINT ["zsl"]
CMD ["--help"]
